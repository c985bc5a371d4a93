//! Unix sockets for the platform's own programs: for this user alone, and taken over from a predecessor.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// A listening socket with a path. The path goes when this is dropped, if it still leads here.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Listens at `path`, in place of whatever listened there: a predecessor that drains, or one that died.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        // Bound aside and moved there, so that it is never open to others and never missing.
        let aside = path.with_extension(format!("{}", std::process::id()));
        let _ = fs::remove_file(&aside);
        let listener = UnixListener::bind(&aside).map_err(at)?;
        let moved = fs::set_permissions(&aside, Permissions::from_mode(0o600))
            .and_then(|()| fs::metadata(&aside))
            .and_then(|metadata| fs::rename(&aside, path).map(|()| metadata.ino()));
        match moved {
            Ok(inode) => Ok(Self { listener, path: path.to_owned(), inode }),
            Err(error) => {
                let _ = fs::remove_file(&aside);
                Err(at(error))
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A successor may have taken the path over already.
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the peer is this user, or root. Belt and braces: the path's mode says the same.
pub(super) fn is_ours(stream: &tokio::net::UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
