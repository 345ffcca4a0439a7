//! `install`: programs, plugins and their manifests, under a prefix.
//!
//! Programs look for plugins in the `lib` beside the `bin` they were started from, so a prefix can be any folder, also
//! one below a home. For packagers each driver has a list of its own files, so that each can be a package of its own;
//! with `--destdir` everything goes below another root, and lists and paths are those without it.

use crate::plugins::{self, Plugin, Profile};
use crate::task::{self, Context, Outcome, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

mod daemon;
mod schemas;

/// Options of `install`.
#[derive(clap::Args)]
pub struct Options {
    /// Where to install, for example /usr/local or a folder in your home
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
    /// Put everything below this root, for packages
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// The folder for plugins' `virt/drivers`, if it is not PREFIX/lib
    #[arg(long, value_name = "DIR")]
    libdir: Option<PathBuf>,
    /// Write the lists of files there, one for the base and one for each driver
    #[arg(long, value_name = "DIR", default_value = "target/install")]
    lists: PathBuf,
    /// Install what a build for work in the tree gives
    #[arg(long)]
    debug: bool,
    /// Do not print the files
    #[arg(long)]
    quiet: bool,
}

/// Installs below a folder of the tree, quietly but for the files; for what needs a release build of its own.
pub fn into(prefix: &Path, debug: bool) -> Result<()> {
    let lists = prefix.join("lists");
    run(&Options {
        prefix: prefix.to_owned(),
        destdir: None,
        libdir: None,
        lists,
        debug,
        quiet: true,
    })
    .map(|_| ())
}

/// What is put where.
struct Installation<'a> {
    options: &'a Options,
    /// Paths in the list being written, without destdir.
    list: Vec<PathBuf>,
}

/// Builds and installs.
pub fn run(options: &Options) -> Result<Outcome> {
    let prefix = std::path::absolute(&options.prefix).context(|| options.prefix.display().to_string())?;
    let libdir = match &options.libdir {
        Some(libdir) => std::path::absolute(libdir).context(|| libdir.display().to_string())?,
        None => prefix.join("lib"),
    };
    let profile = if options.debug {
        Profile::Dev
    } else {
        Profile::Release
    };
    // A library folder that is not beside the programs has to be known to them.
    let environment = options
        .libdir
        .is_some()
        .then(|| ("VIRT_LIBDIR", libdir.as_os_str()));
    let build = plugins::build(profile, environment)?;

    let mut installation = Installation {
        options,
        list: Vec::new(),
    };
    for program in &build.programs {
        let name = program.file_name().unwrap_or_default();
        // Daemons are for the administrator.
        let folder = if name.to_string_lossy().ends_with('d') {
            "sbin"
        } else {
            "bin"
        };
        installation.place(program, &prefix.join(folder).join(name), 0o755)?;
    }
    for document in ["LICENSE", "README.md", "CHANGELOG.md"] {
        installation.place(
            &task::root().join(document),
            &prefix.join("share/doc/ferrovirt").join(document),
            0o644,
        )?;
    }
    let shell = task::root().join("crates/virsh/files");
    installation.place(
        &shell.join("virsh.1"),
        &prefix.join("share/man/man1/virsh.1"),
        0o644,
    )?;
    installation.place(
        &shell.join("virsh.bash"),
        &prefix.join("share/bash-completion/completions/virsh"),
        0o644,
    )?;
    schemas::install(&mut installation, &prefix)?;
    daemon::install(&mut installation, &prefix, &build)?;
    installation.finish("base")?;
    for plugin in &build.plugins {
        installation.plugin(plugin, &prefix, &libdir)?;
    }
    if !options.quiet {
        println!("file lists: {}", options.lists.display());
    }
    Ok(Outcome::Passed)
}

impl Installation<'_> {
    /// A plugin, its manifest and its programs.
    fn plugin(&mut self, plugin: &Plugin, prefix: &Path, libdir: &Path) -> Result<()> {
        let drivers = libdir.join("virt/drivers");
        // The manifest last: a plugin exists for others once its manifest does.
        self.place(&plugin.object, &drivers.join(plugin.object_name()), 0o644)?;
        for helper in &plugin.helpers {
            let name = helper.file_name().unwrap_or_default();
            // Clients on other hosts start it by its bare name.
            let folder = if name == "virt-ssh-helper" {
                "bin"
            } else {
                "libexec/virt"
            };
            self.place(helper, &prefix.join(folder).join(name), 0o755)?;
            let page = format!("{}.8", name.to_string_lossy());
            let source = task::root()
                .join("drivers")
                .join(&plugin.name)
                .join("files")
                .join(&page);
            if source.exists() {
                self.place(&source, &prefix.join("share/man/man8").join(page), 0o644)?;
            }
        }
        let manifest = drivers.join(plugin.manifest_name());
        task::write(&self.staged(&manifest), &plugin.manifest)?;
        set_mode(&self.staged(&manifest), 0o644)?;
        self.list.push(manifest);
        self.finish(&format!("driver-{}", plugin.name))
    }

    /// Where a path really goes.
    fn staged(&self, path: &Path) -> PathBuf {
        match &self.options.destdir {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }

    /// Copies a file. A program that runs keeps the old one: the new file takes its name in one step.
    fn place(&mut self, from: &Path, to: &Path, mode: u32) -> Result<()> {
        let content = std::fs::read(from).context(|| from.display().to_string())?;
        self.write(to, content, mode)
    }

    /// Writes a file, in one step like [`Self::place`].
    fn write(&mut self, to: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let staged = self.staged(to);
        let mut fresh = staged.clone().into_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        task::write(&fresh, content)?;
        set_mode(&fresh, mode)?;
        self.take_name(&fresh, &staged, to)
    }

    /// Makes a symbolic link. What has the name is replaced, whatever it is.
    fn link(&mut self, target: &Path, to: &Path) -> Result<()> {
        let staged = self.staged(to);
        if let Some(folder) = staged.parent() {
            std::fs::create_dir_all(folder).context(|| folder.display().to_string())?;
        }
        let mut fresh = staged.clone().into_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        let _ = std::fs::remove_file(&fresh);
        std::os::unix::fs::symlink(target, &fresh).context(|| fresh.display().to_string())?;
        self.take_name(&fresh, &staged, to)
    }

    fn take_name(&mut self, fresh: &Path, staged: &Path, to: &Path) -> Result<()> {
        std::fs::rename(fresh, staged).context(|| format!("renaming {}", fresh.display()))?;
        if !self.options.quiet {
            println!("{}", staged.display());
        }
        self.list.push(to.to_owned());
        Ok(())
    }

    /// Writes the list of what was placed since the last one.
    fn finish(&mut self, name: &str) -> Result<()> {
        let text: String = self
            .list
            .drain(..)
            .map(|path| format!("{}\n", path.display()))
            .collect();
        task::write(
            &task::root()
                .join(&self.options.lists)
                .join(format!("{name}.files")),
            text,
        )
    }
}

/// The mode of a file, whatever the umask: the loader refuses plugins that others can write.
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .context(|| path.display().to_string())
}
