// SPDX-License-Identifier: GPL-2.0-or-later
//! virtiofs shares: a helper process for each, which is this program again with the `virtiofsd`
//! crate inside. In the runner's own process that crate has no place: it ends the process on bad
//! requests.
//!
//! The runner binds the socket and connects to it before it starts the helper: the listening end
//! becomes the helper's standard input, the connected end goes to QEMU. Nothing has to wait for
//! the socket to appear, and its name in the filesystem is gone before the helper runs.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::anyhow;
use vhost_user_backend::VhostUserDaemon;
use virtiofsd::filesystem::FileSystem;
use virtiofsd::filesystem::SerializableFileSystem;
use virtiofsd::passthrough::CachePolicy;
use virtiofsd::passthrough::Config;
use virtiofsd::passthrough::InodeFileHandlesMode;
use virtiofsd::passthrough::PassthroughFs;
use virtiofsd::passthrough::read_only::PassthroughFsRo;
use virtiofsd::sandbox::Sandbox;
use virtiofsd::sandbox::SandboxMode;
use virtiofsd::vhost_user::VhostUserFsBackendBuilder;
use vm_memory::GuestMemoryAtomic;
use vm_memory::GuestMemoryMmap;

use crate::exec;
use crate::exec::Guarded;

/// Hidden subcommand of the helper.
pub const SHARE_COMMAND: &str = "__share";

/// How long the guest may believe what it knows about names and attributes.
const TRUST: Duration = Duration::from_secs(1);

/// Descriptors that the helper needs for itself; the rest may serve the guest.
const RESERVED_FDS: u64 = 700;

/// A folder of the host for the guest.
#[derive(Debug, Clone)]
pub struct ShareSpec {
    /// virtiofs tag.
    pub tag: String,
    /// The folder.
    pub dir: PathBuf,
    /// Whether the guest may only read.
    pub read_only: bool,
}

/// A running helper and the connected socket for QEMU.
#[derive(Debug)]
pub struct Share {
    /// The virtiofs tag.
    pub tag: String,
    /// The helper process.
    pub helper: Guarded,
    /// The connected end, for QEMU.
    pub socket: OwnedFd,
}

impl Share {
    /// Starts the helper for `spec`; what it has to say goes to `log`.
    pub fn start(own: &Path, spec: &ShareSpec, log: &Path) -> anyhow::Result<Share> {
        let what = || format!("cannot share {} as `{}`", spec.dir.display(), spec.tag);
        let (listener, socket) = connected_listener().with_context(what)?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = exec::own_command(own, SHARE_COMMAND);
        command.arg(&spec.dir);
        if spec.read_only {
            command.arg("--read-only");
        }
        command
            .stdin(OwnedFd::from(listener))
            .stdout(log.try_clone()?)
            .stderr(log)
            .env("RUST_LOG", "warn");
        let helper = Guarded::spawn(&mut command).with_context(what)?;
        Ok(Share {
            tag: spec.tag.clone(),
            helper,
            socket: socket.into(),
        })
    }
}

/// A listening socket with one connection already waiting in it, and that connection.
fn connected_listener() -> anyhow::Result<(UnixListener, UnixStream)> {
    let dir = tempfile::Builder::new()
        .prefix("vmtest-")
        .tempdir()
        .context("cannot make a temporary folder for a socket")?;
    let path = dir.path().join("share");
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("cannot make the socket {}", path.display()))?;
    let stream = UnixStream::connect(&path)
        .with_context(|| format!("cannot connect to {}", path.display()))?;
    Ok((listener, stream))
}

/// The helper: serves one guest until it disconnects.
pub fn serve(parent: u32, dir: &Path, read_only: bool) -> anyhow::Result<()> {
    exec::die_with_parent(parent)?;
    let listener = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("standard input must be the listening socket")?;
    let listener = vhost::vhost_user::Listener::from(UnixListener::from(listener));
    let descriptors = virtiofsd::limits::setup_rlimit_nofile(None)
        .map_err(|error| anyhow!("cannot raise the number of open files: {error}"))?;

    let dir_text = dir.to_str().context("the folder's name is not UTF-8")?;
    let mut sandbox = Sandbox::new(
        dir_text.to_owned(),
        SandboxMode::None,
        Vec::new(),
        Vec::new(),
    );
    let mountinfo_prefix = sandbox.get_mountinfo_prefix()?;
    let listener = sandbox
        .enter(listener)
        .map_err(|error| anyhow!("cannot open {}: {error}", dir.display()))?;
    let config = Config {
        entry_timeout: TRUST,
        attr_timeout: TRUST,
        cache_policy: CachePolicy::Auto,
        root_dir: sandbox.get_root_dir(),
        mountinfo_prefix,
        proc_sfd_rawfd: sandbox.get_proc_self_fd(),
        proc_mountinfo_rawfd: sandbox.get_mountinfo_fd(),
        inode_file_handles: InodeFileHandlesMode::Never,
        guest_fd_limit: descriptors.saturating_sub(RESERVED_FDS),
        ..Default::default()
    };
    let what = || format!("cannot serve {}", dir.display());
    match read_only {
        true => serve_fs(PassthroughFsRo::new(config).with_context(what)?, listener),
        false => serve_fs(PassthroughFs::new(config).with_context(what)?, listener),
    }
}

fn serve_fs<F>(fs: F, mut listener: vhost::vhost_user::Listener) -> anyhow::Result<()>
where
    F: FileSystem + SerializableFileSystem + Send + Sync + 'static,
{
    let backend = VhostUserFsBackendBuilder::default()
        .build(fs)
        .map_err(|error| anyhow!("cannot set the share up: {error}"))?;
    let mut daemon = VhostUserDaemon::new(
        "vmtest-share".to_owned(),
        Arc::new(backend),
        GuestMemoryAtomic::new(GuestMemoryMmap::new()),
    )
    .map_err(|error| anyhow!("cannot set the share up: {error:?}"))?;
    daemon
        .start(&mut listener)
        .map_err(|error| anyhow!("QEMU did not connect: {error:?}"))?;
    match daemon.wait() {
        Ok(()) => Ok(()),
        Err(vhost_user_backend::Error::HandleRequest(
            vhost::vhost_user::Error::Disconnected | vhost::vhost_user::Error::PartialMessage,
        )) => Ok(()),
        Err(error) => Err(anyhow!("the share ended: {error:?}")),
    }
}

/// Arguments of the hidden subcommand, after the parent's id.
pub fn parse_arguments(arguments: &[OsString]) -> anyhow::Result<(PathBuf, bool)> {
    match arguments {
        [dir] => Ok((dir.into(), false)),
        [dir, flag] if flag == "--read-only" => Ok((dir.into(), true)),
        other => Err(anyhow!(
            "{SHARE_COMMAND} is for vmtest's own use; got {other:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::io::Write;

    #[test]
    fn the_connection_waits_in_the_listener_and_leaves_no_name() {
        let (listener, mut stream) = connected_listener().unwrap();
        let name = listener.local_addr().unwrap();
        assert!(!name.as_pathname().unwrap().exists());
        let (mut accepted, _) = listener.accept().unwrap();
        stream.write_all(b"x").unwrap();
        let mut byte = [0];
        accepted.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn the_helper_takes_a_folder_and_one_flag() {
        let parse = |arguments: &[&str]| {
            parse_arguments(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
        };
        assert_eq!(parse(&["/a"]).unwrap(), ("/a".into(), false));
        assert_eq!(parse(&["/a", "--read-only"]).unwrap(), ("/a".into(), true));
        assert!(parse(&["/a", "--other"]).is_err());
        assert!(parse(&[]).is_err());
    }
}
