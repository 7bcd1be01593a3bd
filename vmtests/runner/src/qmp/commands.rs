// SPDX-License-Identifier: GPL-2.0-or-later
//! Commands whose arguments are JSON: those that the crate's schema has no types for, and those
//! whose types are a list of thirty absent options.

use qapi::qmp::QmpCommand;
use serde::Serialize;
use serde_json::Value;

macro_rules! commands {
    ($($(#[$doc:meta])* $type:ident = $name:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize)]
        #[serde(transparent)]
        pub struct $type(pub Value);

        impl qapi::Command for $type {
            type Ok = Value;
            const NAME: &'static str = $name;
            const ALLOW_OOB: bool = false;
        }

        impl QmpCommand for $type {}
    )*};
}

commands! {
    /// Takes a descriptor that was sent along, under a name.
    GetFd = "getfd";
    /// Switches capabilities of migration on.
    MigrateSetCapabilities = "migrate-set-capabilities";
    /// Sets the speed of migration.
    MigrateSetParameters = "migrate-set-parameters";
    /// Writes the machine's state out.
    Migrate = "migrate";
    /// Reads a machine's state in.
    MigrateIncoming = "migrate-incoming";
    /// How far that is.
    QueryMigrate = "query-migrate";
    /// Says among other things how many instructions a machine has executed that counts them.
    QueryReplay = "query-replay";
    /// Makes a block node.
    BlockdevAdd = "blockdev-add";
    /// Removes a block node.
    BlockdevDel = "blockdev-del";
    /// Makes block nodes again with other options, in place.
    BlockdevReopen = "blockdev-reopen";
    /// Plugs a device in.
    DeviceAdd = "device_add";
    /// Asks the guest to let a device go.
    DeviceDel = "device_del";
    /// Limits a disk's speed.
    BlockSetIoThrottle = "block_set_io_throttle";
    /// Changes a node's size.
    BlockResize = "block_resize";
    /// Changes the size of the balloon.
    Balloon = "balloon";
    /// Says how much memory the balloon leaves.
    QueryBalloon = "query-balloon";
}
