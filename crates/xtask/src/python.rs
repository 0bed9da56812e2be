//! The Python tools that prove things about the contract, in an environment of their own.
//!
//! `contracts/python/requirements.txt` pins every package with its hashes. Wheels only: nothing is compiled or run to
//! install them.

pub(crate) mod halmos;
pub(crate) mod slither;

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use devstack::Tools;

use crate::Failure;
use crate::cargo::{self, root};

const REQUIREMENTS: &str = "contracts/python/requirements.txt";
/// Where the tools leave what they would leave in a home.
const HOME: &str = "target/tools/home";
const STAMP: &str = ".stipend-installed";
/// What halmos needs.
const OLDEST: (u32, u32) = (3, 11);
const REMEDY: &str =
    "install it with `apt-get install python3 python3-venv`, or from your system's packages";

/// Runs the proofs alone.
pub(crate) fn run() -> Result<(), Failure> {
    let tools = Tools::ensure(&|line: &str| println!("{line}"))?;
    slither::run(&tools)?;
    halmos::run(&tools)
}

/// The environment with the tools of `requirements.txt`.
#[derive(Debug)]
pub(crate) struct Python {
    environment: PathBuf,
}

impl Python {
    /// Finds the environment of the present requirements, or makes it: the first time about half a minute and 300 MB.
    pub(crate) fn ensure() -> Result<Self, Failure> {
        let requirements = root().join(REQUIREMENTS);
        let mut hasher = DefaultHasher::new();
        fs::read(&requirements)?.hash(&mut hasher);
        let tools = root().join("target/tools");
        let environment = tools.join(format!("python-{:016x}", hasher.finish()));
        let stamp = environment.join(STAMP);
        fs::create_dir_all(&tools)?;
        // Two runs at once do it once: the second waits.
        let guard = File::create(tools.join("python.lock"))?;
        guard.lock()?;
        if !stamp.exists() {
            // One that was begun and not finished.
            if environment.exists() {
                fs::remove_dir_all(&environment)?;
            }
            create(&environment, &tools)?;
            install(&environment, &requirements)?;
            File::create(&stamp)?;
        }
        Ok(Self { environment })
    }

    /// A tool of the environment, to be run in the repository, that finds the pinned forge. What it writes to its home
    /// or to the place for temporary files stays under `target`.
    fn tool(&self, name: &str, tools: &Tools) -> Result<Command, Failure> {
        let home = root().join(HOME);
        fs::create_dir_all(&home)?;
        let forge = tools.forge()?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            forge.parent().map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
        let mut tool = Command::new(self.bin().join(name));
        tool.current_dir(root()).env("PATH", std::env::join_paths(path)?);
        tool.env("HOME", &home).env("TMPDIR", &home).env("NO_COLOR", "1");
        Ok(tool)
    }

    fn bin(&self) -> PathBuf {
        self.environment.join("bin")
    }
}

/// Makes an empty environment. Debian packs the module for that apart from Python.
fn create(environment: &Path, tools: &Path) -> Result<(), Failure> {
    let version = python_version();
    if version.is_none_or(|version| version < OLDEST) {
        let found = version.map_or("none".to_owned(), |(major, minor)| format!("{major}.{minor}"));
        let (major, minor) = OLDEST;
        if version.is_some()
            || !apt_install()?
            || python_version().is_none_or(|found| found < OLDEST)
        {
            return Err(
                format!("needs python3 {major}.{minor} or newer, found {found}: {REMEDY}").into()
            );
        }
    }
    let venv = || {
        Command::new("python3").args(["-m", "venv"]).arg(environment).current_dir(tools).output()
    };
    let mut made = venv()?;
    if !made.status.success() && apt_install()? {
        made = venv()?;
    }
    if made.status.success() {
        return Ok(());
    }
    Err(format!("`python3 -m venv` failed; if its module is missing, {REMEDY}\n{}", words(&made))
        .into())
}

fn python_version() -> Option<(u32, u32)> {
    let program = "import sys; print(*sys.version_info[:2])";
    let output = Command::new("python3").args(["-c", program]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Installs Python where this is Debian and we may; `false` elsewhere.
fn apt_install() -> Result<bool, Failure> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !root || Command::new("apt-get").arg("--version").output().is_err() {
        return Ok(false);
    }
    println!("installing python3 and python3-venv with apt-get");
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        cargo::run(apt.args(args).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "-qq"])?;
    apt(&["install", "-qq", "--yes", "python3", "python3-venv"])?;
    Ok(true)
}

fn install(environment: &Path, requirements: &Path) -> Result<(), Failure> {
    println!("installing halmos and slither with pip (about 300 MB on disk, once)");
    let start = Instant::now();
    let pip = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"];
    let pinned = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement"];
    cargo::run(
        Command::new(environment.join("bin/python")).args(pip).args(pinned).arg(requirements),
    )?;
    println!("installed them in {} s", start.elapsed().as_secs());
    Ok(())
}

/// All that a program has printed.
fn words(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
