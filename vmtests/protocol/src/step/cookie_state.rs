// SPDX-License-Identifier: GPL-2.0-or-later
//! States of a cookie.

use serde::Deserialize;
use serde::Serialize;

macro_rules! states {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal),* $(,)?) => {
        /// A state of a cookie, as fscache calls it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum CookieState {
            $($(#[doc = $doc])* $name),*
        }

        impl CookieState {
            /// Its word.
            pub fn word(self) -> &'static str {
                match self {
                    $(CookieState::$name => $word),*
                }
            }
        }
    };
}

states! {
    /// Not cached.
    Quiescent = "quiescent",
    /// Being looked up.
    LookingUp = "looking_up",
    /// Being made.
    Creating = "creating",
    /// There.
    Active = "active",
    /// Being invalidated.
    Invalidating = "invalidating",
    /// Failed: nothing until it is withdrawn.
    Failed = "failed",
    /// Being discarded because nobody uses it.
    LruDiscarding = "lru_discarding",
    /// Being withdrawn.
    Withdrawing = "withdrawing",
    /// Being relinquished.
    Relinquishing = "relinquishing",
    /// Gone.
    Dropped = "dropped",
}
