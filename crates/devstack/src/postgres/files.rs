//! The folder of one cluster, owned by whom the server runs as.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use nix::unistd::{User, geteuid};
use tempfile::TempDir;

use crate::{
    error::{Error, Result, io},
    process::Unprivileged,
};

/// A folder with the password file, and the binaries if they cannot be used in place.
pub(super) struct Cluster {
    folder: Folder,
    binaries: PathBuf,
    user: Option<Unprivileged>,
}

enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

impl Cluster {
    /// Makes the folder, or takes up the `kept` one, and answers with its password: `password`, unless the kept one has
    /// one already.
    pub(super) fn prepare(
        native: &Path,
        password: String,
        kept: Option<&Path>,
    ) -> Result<(Self, String)> {
        let user = unprivileged()?;
        let folder = match kept {
            Some(kept) => Folder::Kept(keep(kept, user)?),
            None => Folder::Temporary(
                tempfile::Builder::new()
                    .prefix("stipend-postgres-")
                    .tempdir()
                    .map_err(io("create a folder for PostgreSQL"))?,
            ),
        };
        let password_file = folder.path().join("password");
        let password = if kept.is_some() && password_file.exists() {
            fs::read_to_string(&password_file).map_err(io("read PostgreSQL's password file"))?
        } else {
            fs::write(&password_file, &password).map_err(io("write PostgreSQL's password file"))?;
            password
        };
        let mut binaries = native.to_path_buf();
        if let Some(user) = user {
            if !reachable_by_others(native) {
                binaries = folder.path().join("native");
                if binaries.exists() {
                    fs::remove_dir_all(&binaries).map_err(io("remove the old binaries"))?;
                }
                copy_tree(native, &binaries).map_err(io(format!("copy {}", native.display())))?;
            }
            give(folder.path(), user)
                .map_err(io(format!("give {} to nobody", folder.path().display())))?;
        }
        Ok((Self { folder, binaries, user }, password))
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn binaries(&self) -> &Path {
        &self.binaries
    }

    pub(super) fn user(&self) -> Option<Unprivileged> {
        self.user
    }

    /// Leaves the folder to someone else to remove.
    pub(super) fn hand_over(self) {
        if let Folder::Temporary(folder) = self.folder {
            let _handed_over = folder.keep();
        }
    }
}

/// A folder that stays. Whom the server runs as must be able to reach it.
fn keep(folder: &Path, user: Option<Unprivileged>) -> Result<PathBuf> {
    let failed = || io(format!("make the folder {}", folder.display()));
    fs::create_dir_all(folder).map_err(failed())?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed())?;
    let folder = folder.canonicalize().map_err(failed())?;
    let parent = folder.parent().unwrap_or(&folder);
    if user.is_some() && !reachable_by_others(parent) {
        let out_of_reach =
            std::io::Error::other("PostgreSQL runs as `nobody`, who cannot reach it");
        return Err(failed()(out_of_reach));
    }
    Ok(folder)
}

/// `nobody`, when we are root.
fn unprivileged() -> Result<Option<Unprivileged>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let nobody = User::from_name("nobody").ok().flatten();
    nobody
        .map(|user| Some(Unprivileged { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
        .ok_or_else(|| Error::MissingTool {
            tool: "the user `nobody`".to_owned(),
            path: PathBuf::from("/etc/passwd"),
            remedy: "PostgreSQL refuses to run as root: run as an ordinary user".to_owned(),
        })
}

/// Whether every folder on the way may be passed by everybody.
fn reachable_by_others(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| {
        path.ancestors().all(|folder| {
            fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
        })
    })
}

/// Copies a tree; links stay links, modes stay modes.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

/// Makes a user the owner of a whole tree: the server's guard, which runs as that user, removes it.
fn give(path: &Path, user: Unprivileged) -> std::io::Result<()> {
    lchown(path, Some(user.uid), Some(user.gid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}
