// SPDX-License-Identifier: GPL-2.0-or-later
//! Typed reading of a [`Node`], with the place of what does not fit.
//!
//! Serde stops at the first mistake. [`super::read`] repairs it and reads again, and so finds the
//! others: a [`Fault`] says what is wrong in a form that can be repaired.

use std::fmt;

use serde::de;
use serde::de::IntoDeserializer;
use serde::forward_to_deserialize_any;

use super::source::Place;
use super::tree::Form;
use super::tree::Key;
use super::tree::Node;
use super::tree::Scalar;
use super::tree::Value;

/// What does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where; unknown until the fault has passed a value whose place is known.
    pub place: Option<Place>,
    /// What.
    pub what: What,
}

/// Kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// No such key, or no such word where only some may stand.
    Unknown {
        /// The word that was found.
        word: String,
        /// All words that may stand there.
        known: &'static [&'static str],
        /// Whether it is a key.
        key: bool,
    },
    /// A key is missing.
    Missing(&'static str),
    /// Another type is wanted.
    Type {
        /// What was found.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// Anything else.
    Other(String),
}

impl Fault {
    fn new(what: What) -> Self {
        Fault { place: None, what }
    }

    fn or_at(mut self, place: Place) -> Self {
        self.place.get_or_insert(place);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Unknown {
                word, key: true, ..
            } => write!(f, "unknown key `{word}`"),
            What::Unknown { word, .. } => write!(f, "unknown word `{word}`"),
            What::Missing(key) => write!(f, "the key `{key}` is missing"),
            What::Type { found, wanted } => write!(f, "here stands {found}, wanted is {wanted}"),
            What::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        Fault::new(
            match text.contains("did not match any variant of untagged") {
                // The only such types are numbers that may be texts.
                true => What::Type {
                    found: "something else".to_owned(),
                    wanted: "a whole number or a text".to_owned(),
                },
                false => What::Other(text),
            },
        )
    }

    fn invalid_type(found: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Fault::new(What::Type {
            found: found_words(found),
            wanted: wanted_words(&wanted.to_string()),
        })
    }

    fn invalid_value(found: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn unknown_field(word: &str, known: &'static [&'static str]) -> Self {
        Fault::new(What::Unknown {
            word: word.to_owned(),
            known,
            key: true,
        })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Fault::new(What::Unknown {
            word: word.to_owned(),
            known,
            key: false,
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Fault::new(What::Missing(key))
    }
}

fn found_words(found: de::Unexpected<'_>) -> String {
    use de::Unexpected as U;
    match found {
        U::Bool(value) => format!("the truth value {value}"),
        U::Unsigned(number) => format!("the number {number}"),
        U::Signed(number) => format!("the number {number}"),
        U::Float(number) => format!("the number {number}"),
        U::Str(text) => format!("the text `{}`", shortened(text)),
        U::Unit | U::Option => "nothing".to_owned(),
        U::Seq => "a list".to_owned(),
        U::Map | U::StructVariant => "a map".to_owned(),
        other => other.to_string(),
    }
}

/// Serde's words for types in those of the language.
fn wanted_words(wanted: &str) -> String {
    match wanted {
        "a string" => "a text".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list, such as `[a, b]`".to_owned(),
        "a map" => "a map, such as `{key: value}`".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number".to_owned(),
        "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        _ if wanted.starts_with("struct ") => "a map of fields, such as `{key: value}`".to_owned(),
        _ if wanted.starts_with("enum ") => "a word".to_owned(),
        _ => wanted.to_owned(),
    }
}

/// A text as it can be shown in a message.
pub fn shortened(text: &str) -> String {
    match text.chars().count() > 60 {
        false => text.to_owned(),
        true => text.chars().take(57).chain("...".chars()).collect(),
    }
}

/// A scalar as YAML's core schema resolves it.
#[derive(Debug, Clone, PartialEq)]
pub enum Plain {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A negative whole number.
    Signed(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text,
}

/// What a scalar without quotes is.
pub fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Plain::Text;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            return u64::from_str_radix(digits, radix).map_or(Plain::Text, Plain::Unsigned);
        }
    }
    // As the field's other readers do: a leading zero makes a text, such as 0755.
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Plain::Text;
    }
    if let Ok(number) = text.parse::<u64>() {
        return Plain::Unsigned(number);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Plain::Signed(number);
    }
    let number_like = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse::<f64>() {
        Ok(number) if number_like => Plain::Float(number),
        _ => Plain::Text,
    }
}

/// Reads a node as a `T`.
pub fn from_node<T: de::DeserializeOwned>(node: &Node) -> Result<T, Fault> {
    let holder = node.place;
    T::deserialize(Reader { node, holder }).map_err(|fault| fault.or_at(node.place))
}

/// A node, and the key that holds it: that is where a missing key is reported.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    holder: Place,
}

impl Reader<'_> {
    /// The node's place; a value that is not there is shown at its key.
    fn place(&self) -> Place {
        match self.node.place.start == self.node.place.end {
            true => self.holder,
            false => self.node.place,
        }
    }

    fn scalar<'de, V: de::Visitor<'de>>(scalar: &Scalar, visitor: V) -> Result<V::Value, Fault> {
        match scalar.form {
            Form::Quoted | Form::Filled => visitor.visit_str(&scalar.text),
            Form::Plain => match resolve(&scalar.text) {
                Plain::Null => visitor.visit_unit(),
                Plain::Bool(value) => visitor.visit_bool(value),
                Plain::Unsigned(number) => visitor.visit_u64(number),
                Plain::Signed(number) => visitor.visit_i64(number),
                Plain::Float(number) => visitor.visit_f64(number),
                Plain::Text => visitor.visit_str(&scalar.text),
            },
        }
    }

    /// As a scalar that was a template: the reader says what it wants.
    fn wanted<'de, V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.form == Form::Filled => Self::scalar(
                &Scalar {
                    text: scalar.text.clone(),
                    form: Form::Plain,
                },
                visitor,
            ),
            _ => de::Deserializer::deserialize_any(self, visitor),
        }
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.wanted(visitor)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let place = self.place();
        match &self.node.value {
            Value::Scalar(scalar) => Self::scalar(scalar, visitor),
            Value::List(items) => visitor.visit_seq(Items {
                items: items.iter(),
            }),
            Value::Map(fields) => {
                let mut map = Fields { fields, next: 0 };
                let read = visitor.visit_map(&mut map);
                let last = map.subject();
                read.map_err(|fault| match (&fault.place, &fault.what) {
                    (None, What::Missing(_)) => fault.or_at(self.holder),
                    (
                        None,
                        What::Unknown {
                            word, key: true, ..
                        },
                    ) => {
                        let place = self.node.key_place(word);
                        fault.or_at(place)
                    }
                    // What a visitor has to say itself it mostly says about the key just read.
                    (None, _) => fault.or_at(last.map_or(self.holder, |(key, _)| key.place)),
                    _ => fault,
                })
            }
        }
        .map_err(|fault| fault.or_at(place))
    }

    fn deserialize_option<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Scalar(Scalar {
                text,
                form: Form::Plain,
            }) if resolve(text) == Plain::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let place = self.place();
        let read = match &self.node.value {
            Value::Scalar(scalar)
                if scalar.form != Form::Plain || resolve(&scalar.text) != Plain::Null =>
            {
                visitor.visit_enum(scalar.text.as_str().into_deserializer())
            }
            Value::Scalar(_) => Err(Fault::new(What::Type {
                found: "nothing".to_owned(),
                wanted: "a word".to_owned(),
            })),
            Value::List(_) => Err(Fault::new(What::Type {
                found: "a list".to_owned(),
                wanted: "a word".to_owned(),
            })),
            Value::Map(fields) => match fields.as_slice() {
                [(key, value)] => visitor.visit_enum(Variant { key, value }),
                _ => Err(Fault::new(What::Type {
                    found: format!("a map with {} keys", fields.len()),
                    wanted: "a word, or a map with one key".to_owned(),
                })),
            },
        };
        read.map_err(|fault| fault.or_at(place))
    }

    fn deserialize_struct<V: de::Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            // Serde would take the items for the fields.
            Value::List(_) => {
                let fault: Fault = de::Error::invalid_type(de::Unexpected::Seq, &visitor);
                Err(fault.or_at(self.place()))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    numbers! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32
        deserialize_f64
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.items.next() else {
            return Ok(None);
        };
        // Items have no key: what is missing in one is reported at its first key.
        let holder = node
            .fields()
            .first()
            .map_or(node.place, |(key, _)| key.place);
        let read = seed.deserialize(Reader { node, holder });
        read.map(Some).map_err(|fault| fault.or_at(holder))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Fields<'a> {
    fields: &'a [(Key, Node)],
    next: usize,
}

impl Fields<'_> {
    /// The key that a visitor means when it finds fault with the map: the one just read, or, when
    /// all were read, a step's action.
    fn subject(&self) -> Option<&(Key, Node)> {
        let read = self.fields.get(..self.next)?;
        let bare = |key: &Key| matches!(key.text.as_str(), "name" | "timeout");
        match read.len() == self.fields.len() {
            true => read
                .iter()
                .rev()
                .find(|(key, _)| !bare(key))
                .or(read.last()),
            false => read.last(),
        }
    }
}

impl<'de> de::MapAccess<'de> for &mut Fields<'_> {
    type Error = Fault;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, _)) = self.fields.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        seed.deserialize(key.text.as_str().into_deserializer())
            .map(Some)
            .map_err(|fault: Fault| fault.or_at(key.place))
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.next.checked_sub(1).and_then(|at| self.fields.get(at)) else {
            return Err(de::Error::custom("a value without a key"));
        };
        let holder = key.place;
        let reader = Reader { node, holder };
        seed.deserialize(reader)
            .map_err(|fault| fault.or_at(reader.place()))
    }
}

struct Variant<'a> {
    key: &'a Key,
    value: &'a Node,
}

impl<'a, 'de> de::EnumAccess<'de> for Variant<'a> {
    type Error = Fault;
    type Variant = Reader<'a>;

    fn variant_seed<V: de::DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Reader<'a>), Fault> {
        let holder = self.key.place;
        let value = seed
            .deserialize(self.key.text.as_str().into_deserializer())
            .map_err(|fault: Fault| fault.or_at(holder))?;
        let reader = Reader {
            node: self.value,
            holder,
        };
        Ok((value, reader))
    }
}

impl<'de> de::VariantAccess<'de> for Reader<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        de::Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let place = self.node.place;
        seed.deserialize(self).map_err(|fault| fault.or_at(place))
    }

    fn tuple_variant<V: de::Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        de::Deserializer::deserialize_any(self, visitor)
    }

    fn struct_variant<V: de::Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        de::Deserializer::deserialize_any(self, visitor)
    }
}
