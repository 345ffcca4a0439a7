//! Drivers outside the tree: packages as an author would get them, a folder elsewhere, cargo without the network.
//!
//! [`Published`] is what the registry would hold: the `.crate` files of this workspace, unpacked. [`Outside`] is a
//! driver's own folder that is built against them. [`Page`] is a page of documentation as files and commands.
#![forbid(unsafe_code)]

/// The examples of `docs/embedding.md`, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
pub mod embedding {}

/// The examples of `docs/programs.md`, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/programs.md")]
pub mod programs {}

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use virt_api::plugin::inspect;
use virt_api::testkit::{PluginFolder, TempRoot, copy_plugin, plugins};

/// What went wrong, for a test to print.
pub type Result<T> = std::result::Result<T, String>;

/// The workspace that this test belongs to.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Runs a program; its output if it succeeds, else all that it wrote.
pub fn run(command: &mut Command) -> Result<Output> {
    let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if out.status.success() {
        return Ok(out);
    }
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    Err(format!("{command:?}: {}\n{text}", out.status))
}

/// A build task of this tree.
pub fn xtask(words: &[&str]) -> Result<Output> {
    let mut command = cargo(&workspace());
    run(command
        .args(["run", "--quiet", "--package", "xtask", "--"])
        .args(words))
}

/// The cargo that runs us, in a folder, without the network.
fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder).env("CARGO_NET_OFFLINE", "true");
    // What this test's own cargo run was told is not for others.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text.starts_with("VIRT_")
        {
            command.env_remove(&name);
        }
    }
    command
}

/// The workspace's libraries as their packages have them.
pub struct Published {
    folder: PathBuf,
}

/// The packages that drivers build on.
const PACKAGES: &[&str] = &["virt-api", "virt-conf", "virt-macros", "virt-util"];

impl Published {
    /// Packs and unpacks them, once for all tests. They stay where they are between runs, so that cargo builds again
    /// only what has changed.
    pub fn get() -> Result<&'static Self> {
        static PUBLISHED: OnceLock<Result<Published>> = OnceLock::new();
        PUBLISHED.get_or_init(Self::new).as_ref().map_err(Clone::clone)
    }

    fn new() -> Result<Self> {
        let target = workspace().join("target/outside");
        let mut command = cargo(&workspace());
        command
            .args([
                "package",
                "--no-verify",
                "--allow-dirty",
                "--quiet",
                "--target-dir",
            ])
            .arg(&target);
        for name in PACKAGES {
            command.args(["--package", name]);
        }
        run(&mut command)?;
        let folder = target.join("published");
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        for name in PACKAGES {
            let file = format!("{name}-{}.crate", env!("CARGO_PKG_VERSION"));
            let fresh =
                std::fs::read(target.join("package").join(&file)).map_err(|e| format!("{file}: {e}"))?;
            let kept = folder.join(&file);
            if std::fs::read(&kept).is_ok_and(|old| old == fresh) {
                continue;
            }
            let _ = std::fs::remove_dir_all(folder.join(format!("{name}-{}", env!("CARGO_PKG_VERSION"))));
            std::fs::write(&kept, fresh).map_err(|e| e.to_string())?;
            // Packages carry a constant time; with today's, cargo sees that the files are new.
            run(Command::new("tar").arg("-xzmf").arg(&kept).arg("-C").arg(&folder))?;
        }
        Ok(Self { folder })
    }

    /// The lines that put these packages where the registry's would be.
    fn patch(&self) -> String {
        let mut text = "\n[patch.crates-io]\n".to_owned();
        for name in PACKAGES {
            let folder = self.folder.join(format!("{name}-{}", env!("CARGO_PKG_VERSION")));
            text.push_str(&format!("{name} = {{ path = {folder:?} }}\n"));
        }
        text
    }
}

/// A driver in a folder of its own.
pub struct Outside {
    folder: PathBuf,
    /// Where it is installed.
    drivers: TempRoot,
}

impl Outside {
    /// Takes over a folder that holds a package: it becomes a workspace of its own that builds against `published`, with
    /// the versions of everything else that this tree is tested with.
    pub fn adopt(folder: &Path, published: &Published) -> Result<Self> {
        let manifest = folder.join("Cargo.toml");
        let mut text =
            std::fs::read_to_string(&manifest).map_err(|e| format!("{}: {e}", manifest.display()))?;
        if !text.contains("[workspace]") {
            text.push_str("\n[workspace]\n");
        }
        text.push_str(&published.patch());
        std::fs::write(&manifest, text).map_err(|e| e.to_string())?;
        std::fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock"))
            .map_err(|e| e.to_string())?;
        Ok(Self {
            folder: folder.to_owned(),
            drivers: TempRoot::new(),
        })
    }

    /// A cargo command there. All drivers share a build folder below the tree's, so that what they depend on is built
    /// once.
    pub fn cargo(&self, words: &[&str]) -> Result<Output> {
        run(cargo(&self.folder)
            .args(words)
            .arg("--target-dir")
            .arg(workspace().join("target/outside")))
    }

    /// Builds the driver, checks its manifest against `expected` if there is one, and installs it.
    pub fn install(&self, name: &str, expected: Option<&str>) -> Result<()> {
        self.cargo(&["build", "--quiet"])?;
        let file = format!("libvirt_driver_{}.so", name.replace('-', "_"));
        let object = workspace().join("target/outside/debug").join(file);
        let manifest = inspect(&object).map_err(|e| e.to_string())?;
        let path = copy_plugin(&object, self.drivers.path(), &manifest).map_err(|e| e.to_string())?;
        if let Some(expected) = expected {
            let written = std::fs::read_to_string(path.with_extension("toml")).map_err(|e| e.to_string())?;
            let read = |text: &str| text.parse::<toml::Table>().map_err(|e| e.to_string());
            if read(&written)? != read(expected)? {
                return Err(format!("the manifest is\n{written}\nand not\n{expected}"));
            }
        }
        Ok(())
    }

    /// Builds the driver and installs it as its author would: the shared object, and the manifest that lies in the folder.
    pub fn install_by_hand(&self, name: &str) -> Result<()> {
        self.cargo(&["build", "--quiet"])?;
        let object = format!("libvirt_driver_{}.so", name.replace('-', "_"));
        let object = workspace().join("target/outside/debug").join(object);
        let manifest = self.folder.join(format!("virt-driver-{name}.toml"));
        let to = |extension: &str| {
            self.drivers
                .path()
                .join(format!("virt-driver-{name}.{extension}"))
        };
        run(Command::new("install").arg(&object).arg(to("so")))?;
        run(Command::new("install")
            .args(["-m", "644"])
            .arg(&manifest)
            .arg(to("toml")))?;
        Ok(())
    }

    /// Runs several virsh commands in one connection's life; what it wrote, errors last.
    pub fn virsh(&self, built: &PluginFolder, words: &[&str]) -> Result<String> {
        let program = built
            .directory()
            .parent()
            .map(|target| target.join("debug/virsh"))
            .unwrap_or_default();
        let mut command = Command::new(program);
        command.args(words).env("VIRT_DRIVER_DIR", self.drivers.path());
        let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
        Ok(String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
    }
}

/// The tree's programs, built once.
pub fn built() -> Result<&'static PluginFolder> {
    plugins().map_err(|e| e.to_string())
}

/// A page of documentation, as what it tells its reader to do.
pub struct Page {
    /// Path and content of each file: blocks whose first line says `language,file=PATH`.
    pub files: Vec<(String, String)>,
    /// Command and expected output of each `$` line in blocks of the language `console`.
    pub commands: Vec<(String, String)>,
}

impl Page {
    /// Reads a page.
    pub fn read(text: &str) -> Self {
        let mut page = Self {
            files: Vec::new(),
            commands: Vec::new(),
        };
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(info) = line.strip_prefix("```") else {
                continue;
            };
            let body: Vec<&str> = lines
                .by_ref()
                .take_while(|line| !line.starts_with("```"))
                .collect();
            if let Some((_, path)) = info.split_once("file=") {
                page.files.push((path.to_owned(), body.join("\n") + "\n"));
            } else if info == "console" {
                for line in body {
                    match (line.strip_prefix("$ "), page.commands.last_mut()) {
                        (Some(command), _) => page.commands.push((command.to_owned(), String::new())),
                        (None, Some((_, output))) => {
                            output.push_str(line);
                            output.push('\n');
                        }
                        (None, None) => {}
                    }
                }
            }
        }
        page
    }

    /// The content of a file of the page.
    pub fn file(&self, path: &str) -> Result<&str> {
        let found = self.files.iter().find(|(name, _)| name == path);
        found
            .map(|(_, text)| text.as_str())
            .ok_or_else(|| format!("the page has no file {path}"))
    }

    /// Writes the files below a folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (path, text) in &self.files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(|e| e.to_string())?;
            std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(())
    }
}
