//! What a measurement asks of its server.

use std::{ffi::OsString, path::PathBuf};

/// What a measurement asks of its server beyond [`super::Options`]. The default asks for nothing.
#[derive(Debug, Clone, Default)]
pub struct Tuning {
    /// Settings by name, with the unit in the value, such as `("shared_buffers", "1GB")`.
    pub settings: Vec<(String, String)>,
    /// What is loaded into the server.
    pub preload: Option<Preload>,
    /// A folder for a cluster that is taken up again by the next run. `None`: one that goes away with the server.
    pub kept: Option<PathBuf>,
}

/// A library that the dynamic linker loads into the server before its own.
#[derive(Debug, Clone)]
pub struct Preload {
    /// The library, where whom the server runs as can read it.
    pub library: PathBuf,
    /// Variables that it reads.
    pub environment: Vec<(String, OsString)>,
}

impl Tuning {
    pub(super) fn arguments(&self) -> Vec<String> {
        let settings = self.settings.iter();
        settings.flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect()
    }

    pub(super) fn environment(&self) -> Vec<(String, OsString)> {
        let Some(preload) = &self.preload else { return Vec::new() };
        let library = ("LD_PRELOAD".to_owned(), preload.library.clone().into_os_string());
        preload.environment.iter().cloned().chain([library]).collect()
    }
}
