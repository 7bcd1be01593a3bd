// SPDX-License-Identifier: GPL-2.0-or-later
//! Actions inside of a step: maps with one key, which says what is done.

/// Makes the type of such actions out of a list: each with its comment, its key, its variant and
/// the type of its fields, which has a `check`.
macro_rules! one_key_actions {
    ($enum:ident, $expected:literal; $($(#[doc = $doc:literal])* $key:ident: $variant:ident($fields:ident)),* $(,)?) => {
        /// One action: a map with one key.
        #[derive(Debug, Clone, PartialEq)]
        pub enum $enum {
            $($(#[doc = $doc])* $variant($fields)),*
        }

        impl $enum {
            /// The keys of all actions, with what they do.
            pub const KEYS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($key), concat!($($doc),*))),*];

            /// The action's key.
            pub fn key(&self) -> &'static str {
                match self {
                    $($enum::$variant(_) => stringify!($key)),*
                }
            }

            fn check(&self) -> Result<(), String> {
                match self {
                    $($enum::$variant(fields) => fields.check()),*
                }
            }
        }

        impl Serialize for $enum {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(Some(1))?;
                match self {
                    $($enum::$variant(fields) => {
                        map.serialize_entry(stringify!($key), fields)?
                    }),*
                }
                map.end()
            }
        }

        impl<'de> Deserialize<'de> for $enum {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error;
                const KEYS: &[&str] = &[$(stringify!($key)),*];
                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = $enum;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(f, "{}: {}", $expected, KEYS.join(", "))
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<$enum, A::Error> {
                        let Some(key) = map.next_key::<String>()? else {
                            return Err(A::Error::custom("an action without a name"));
                        };
                        let action = match key.as_str() {
                            $(stringify!($key) => $enum::$variant(map.next_value()?),)*
                            _ => return Err(A::Error::unknown_field(&key, KEYS)),
                        };
                        if let Some(second) = map.next_key::<String>()? {
                            return Err(A::Error::custom(format!(
                                "an action has one key, this one has `{key}` and `{second}`"
                            )));
                        }
                        action.check().map_err(A::Error::custom)?;
                        Ok(action)
                    }
                }
                deserializer.deserialize_map(Visitor)
            }
        }

        #[cfg(feature = "schema")]
        impl $enum {
            pub(crate) fn schemas(
                generator: &mut schemars::SchemaGenerator,
            ) -> Vec<(&'static str, &'static str, schemars::Schema)> {
                vec![$((
                    stringify!($key),
                    concat!($($doc),*),
                    generator.subschema_for::<$fields>(),
                )),*]
            }
        }
    };
}
