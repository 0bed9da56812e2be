//! Children that never outlive us.
//!
//! A child is started by a small shell script, its guard, which holds the read end of a pipe from us. When
//! the pipe closes, because we stopped the child, dropped it, returned from `main` or were killed with
//! `SIGKILL`, the guard asks the child to end, waits for the grace period and then kills it. The
//! kernel closes the pipe for us, so nothing that happens to us can leave a child behind. The guard and the child
//! share a process group of their own, so that Ctrl-C in a terminal reaches only us and we choose the order
//! in which the parts stop.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::error::{Error, Result, io};

/// `$1` signal, `$2` seconds of grace, `$3` folder to remove or empty, then the command.
///
/// The last line ends whatever is left of the group, the script included.
const GUARD: &str = r#"
signal=$1 grace=$2 folder=$3
shift 3
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
{
  cat <&3 >/dev/null
  kill -s "$signal" "$child"
  sleep "$grace"
  kill -s KILL "$child"
} 2>/dev/null &
exec 3<&-
wait "$child"
echo "exited with status $?" >&2
if [ -n "$folder" ]; then rm -rf -- "$folder"; fi
kill -s KILL -- "-$$"
"#;

/// The guard's word on a child that did its work.
const SUCCESS: &str = "exited with status 0";

/// How much of a log an error shows.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 25;
const POLL: Duration = Duration::from_millis(25);

/// The signal that a child understands as "finish what you are doing and end".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// `SIGTERM`.
    Terminate,
    /// `SIGINT`, which PostgreSQL takes as "do not wait for the clients".
    Interrupt,
}

impl StopSignal {
    const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
        }
    }
}

/// A user and group without privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unprivileged {
    /// The numeric user id.
    pub uid: u32,
    /// The numeric group id.
    pub gid: u32,
}

/// What to start, and how to stop it.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The name in messages.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment, beside `PATH`, `HOME` and `LANG`: nothing else is inherited, so that a stray variable cannot
    /// change what a test proves.
    pub env: Vec<(String, OsString)>,
    /// The folder it runs in.
    pub folder: PathBuf,
    /// Whom it runs as, if not as us. Only root can ask for it.
    pub user: Option<Unprivileged>,
    /// How it is asked to end.
    pub stop_signal: StopSignal,
    /// How many seconds it has for that.
    pub grace_seconds: u32,
    /// A folder that is removed when it has ended.
    pub remove_after: Option<PathBuf>,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Spec {
    /// A child with the usual choices: our own user, `SIGTERM`, five seconds, nothing to remove.
    pub fn new(
        name: impl Into<String>,
        program: impl Into<PathBuf>,
        folder: impl Into<PathBuf>,
        log: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            folder: folder.into(),
            user: None,
            stop_signal: StopSignal::Terminate,
            grace_seconds: 5,
            remove_after: None,
            log: log.into(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Passes our whole environment on, for tools that the user's settings (proxies, caches) must reach.
    #[must_use]
    pub fn inherit_env(mut self) -> Self {
        let inherited = std::env::vars_os();
        self.env.extend(
            inherited.filter_map(|(name, value)| name.into_string().ok().map(|name| (name, value))),
        );
        self
    }

    /// Adds one variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

/// A running child. Dropping it asks it to end, without waiting for that.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    grace_seconds: u32,
    guard: Child,
    lifeline: Option<ChildStdin>,
}

impl Process {
    /// Starts the child.
    ///
    /// # Errors
    /// When its log cannot be made or `sh` cannot be run. A program that is missing shows up as a child that has ended.
    pub fn start(spec: &Spec) -> Result<Self> {
        if let Some(folder) = spec.log.parent() {
            fs::create_dir_all(folder).map_err(io(format!("create {}", folder.display())))?;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&spec.log)
            .map_err(io(format!("open {}", spec.log.display())))?;
        let errors = log.try_clone().map_err(io("share the log"))?;
        let removed = spec
            .remove_after
            .as_ref()
            .map_or_else(OsString::new, |folder| folder.as_os_str().to_owned());
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", GUARD, "guard", spec.stop_signal.name()])
            .arg(spec.grace_seconds.to_string())
            .arg(removed)
            .arg(&spec.program)
            .args(&spec.args)
            .env_clear()
            .current_dir(&spec.folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors);
        for name in ["PATH", "HOME", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for (name, value) in &spec.env {
            command.env(name, value);
        }
        if let Some(user) = spec.user {
            command.gid(user.gid).uid(user.uid);
        }
        let mut guard = command.spawn().map_err(io(format!("start {}", spec.name)))?;
        let lifeline = guard.stdin.take();
        Ok(Self {
            name: spec.name.clone(),
            log: spec.log.clone(),
            grace_seconds: spec.grace_seconds,
            guard,
            lifeline,
        })
    }

    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The process group of the child, which nothing else shares.
    pub fn group(&self) -> u32 {
        self.guard.id()
    }

    /// Whether the child has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.guard.try_wait(), Ok(None))
    }

    /// Probes until the child answers, for at most `seconds`.
    ///
    /// # Errors
    /// When the child ends first, or never answers; both show the end of its log.
    pub async fn ready(&mut self, seconds: u64, probe: impl AsyncFn() -> bool) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let answered = probe().await;
            // Something else may be answering at the child's address, so an answer counts only from a live child.
            if self.has_ended() {
                return Err(self.ended());
            }
            if answered {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::NotReady {
                    name: self.name.clone(),
                    seconds,
                    log: self.log.clone(),
                    tail: tail_of(&self.log),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The error of a child that ended while it was needed.
    pub fn ended(&self) -> Error {
        Error::Exited { name: self.name.clone(), log: self.log.clone(), tail: tail_of(&self.log) }
    }

    /// Waits, blocking the thread, for a child that runs to an end by itself, and fails when it does. `command` is
    /// what one would type for it; `tick` is called about twenty times a second.
    ///
    /// # Errors
    /// When its status is not zero, which the guard writes as the last line of the log.
    pub fn succeed(mut self, command: &str, mut tick: impl FnMut()) -> Result<()> {
        while !self.has_ended() {
            tick();
            std::thread::sleep(2 * POLL);
        }
        if self.has_succeeded() {
            return Ok(());
        }
        let tail = tail_of(&self.log);
        Err(Error::Command { command: command.to_owned(), log: self.log, tail })
    }

    /// Whether the child has ended by itself with status 0.
    pub fn has_succeeded(&mut self) -> bool {
        self.has_ended() && tail_of(&self.log).ends_with(SUCCESS)
    }

    /// Asks the child to end, and waits until it has, or kills it when its time is up.
    ///
    /// # Errors
    /// When the system cannot tell us about the child.
    pub async fn stop(&mut self) -> Result<()> {
        drop(self.lifeline.take());
        let deadline = Instant::now() + Duration::from_secs(u64::from(self.grace_seconds) + 2);
        while !self.has_ended() {
            if Instant::now() > deadline {
                return self.kill();
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Kills the child at once with `SIGKILL`, as a crash would.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        if !self.has_ended() {
            self.signal(Signal::SIGKILL)?;
            self.guard.wait().map_err(io(format!("wait for {}", self.name)))?;
        }
        Ok(())
    }

    /// Sends a signal to the child's group, for tests that stop it and let it go on.
    ///
    /// # Errors
    /// When the group is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let refused = |reason: std::io::Error| io(format!("signal {}", self.name))(reason);
        let group = i32::try_from(self.guard.id())
            .map_err(|_| refused(std::io::ErrorKind::InvalidInput.into()))?;
        killpg(Pid::from_raw(group), signal).map_err(|errno| refused(errno.into()))
    }
}

/// The last lines of a log, or a word on why there are none.
pub(crate) fn tail_of(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let lines: Vec<&str> = text.trim_end().lines().collect();
            lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
        }
        Err(error) => format!("(the log cannot be read: {error})"),
    }
}
