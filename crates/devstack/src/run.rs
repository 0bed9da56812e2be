//! One run of the stack and the place of its logs.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    error::{Result, io},
    tools::Tools,
};

/// The folder of one run's logs, `target/dev/logs/<seconds since 1970>-<process id>-<n>`.
#[derive(Debug, Clone)]
pub struct Run {
    logs: PathBuf,
}

impl Run {
    /// Makes a folder for a new run.
    ///
    /// # Errors
    /// When it cannot be made.
    #[expect(clippy::disallowed_methods, reason = "people look for a log by the time of its run")]
    pub fn begin(tools: &Tools) -> Result<Self> {
        let seconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let parent = tools.logs();
        fs::create_dir_all(&parent).map_err(io(format!("create {}", parent.display())))?;
        for number in 1_u32.. {
            let logs = parent.join(format!("{seconds}-{}-{number}", std::process::id()));
            match fs::create_dir(&logs) {
                Ok(()) => return Ok(Self { logs }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io(format!("create {}", logs.display()))(error)),
            }
        }
        Err(io("name a folder for the logs")(std::io::ErrorKind::AlreadyExists.into()))
    }

    /// Where the logs are.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The log file of one part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.logs.join(format!("{part}.log"))
    }
}
