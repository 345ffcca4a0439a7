//! What a daemon needs beside its program: the names it is started under, units, polkit, folders, the manual page. The
//! sources are in `crates/virtd/files`.

use super::Installation;
use crate::plugins::{Build, Plugin};
use crate::run;
use crate::task::{self, Context, Failure, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A daemon that is installed.
#[derive(Debug, PartialEq, Eq)]
struct Daemon {
    name: String,
    /// How its sockets are called.
    prefix: String,
    what: String,
    /// Whether it takes part of what one daemon would do, beside others.
    modular: bool,
    /// Whether it is reached over the network.
    network: bool,
    /// Whether guests are its children.
    guests: bool,
}

impl Daemon {
    fn monolithic() -> Self {
        Self {
            name: "libvirtd".to_owned(),
            prefix: "libvirt".to_owned(),
            what: "all drivers".to_owned(),
            modular: false,
            network: true,
            guests: true,
        }
    }

    /// The one that has the general sockets where each driver has a daemon of its own.
    fn proxy() -> Self {
        Self {
            name: "virtproxyd".to_owned(),
            prefix: "libvirt".to_owned(),
            what: "the way to those of single drivers".to_owned(),
            modular: true,
            network: true,
            guests: false,
        }
    }

    /// Fills in a template.
    fn fill(&self, template: &str, sbin: &Path) -> String {
        let kept = template.lines().filter_map(|line| {
            let conditions = [
                ("@monolithic@", !self.modular),
                ("@modular@", self.modular),
                ("@guests@", self.guests),
            ];
            match conditions.iter().find(|(mark, _)| line.starts_with(mark)) {
                Some((mark, true)) => line.strip_prefix(mark),
                Some((_, false)) => None,
                None => Some(line),
            }
        });
        let text: String = kept.flat_map(|line| [line, "\n"]).collect();
        text.replace("@name@", &self.name)
            .replace("@prefix@", &self.prefix)
            .replace("@what@", &self.what)
            .replace("@ARGS@", &format!("{}_ARGS", self.name.to_uppercase()))
            .replace("@sbindir@", &sbin.display().to_string())
    }
}

/// The daemons for which there are drivers: the one for all, the one that leads to others, and one for each that keeps state on this host.
fn daemons(table: &str, plugins: &[Plugin]) -> Vec<Daemon> {
    let stateful = |driver: &str| {
        plugins
            .iter()
            .any(|plugin| plugin.name == driver && plugin.manifest.contains("role = \"stateful\""))
    };
    let rows = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, driver, guests) = (words.next()?, words.next()?, words.next()?);
            stateful(driver).then(|| Daemon {
                name: name.to_owned(),
                prefix: name.to_owned(),
                what: words.collect::<Vec<_>>().join(" "),
                modular: true,
                network: false,
                guests: guests == "guests",
            })
        });
    [Daemon::monolithic(), Daemon::proxy()]
        .into_iter()
        .chain(rows)
        .collect()
}

/// Installs everything.
pub(super) fn install(installation: &mut Installation<'_>, prefix: &Path, build: &Build) -> Result<()> {
    let files = task::root().join("crates/virtd/files");
    let sbin = prefix.join("sbin");
    let table = read(&files.join("daemons.tbl"))?;
    for daemon in daemons(&table, &build.plugins) {
        // Clients start the daemon of a session by these names, and it knows by its name what to host.
        installation.link(Path::new("virtd"), &sbin.join(&daemon.name))?;
        installation.link(
            Path::new("virtd.8"),
            &prefix.join("share/man/man8").join(format!("{}.8", daemon.name)),
        )?;
        let mut units = vec![".service", ".socket", "-ro.socket", "-admin.socket"];
        if daemon.network {
            units.extend(["-tcp.socket", "-tls.socket"]);
        }
        for unit in units {
            let template = read(&files.join(format!("systemd/daemon{unit}.in")))?;
            let place = prefix
                .join("lib/systemd/system")
                .join(format!("{}{unit}", daemon.name));
            installation.write(&place, daemon.fill(&template, &sbin), 0o644)?;
        }
    }
    // logrotate reads one folder only; without root it is not ours to write to.
    let etc = if prefix == Path::new("/usr") {
        PathBuf::from("/etc")
    } else {
        prefix.join("etc")
    };
    for (file, place) in [
        ("man/virtd.8", prefix.join("share/man/man8/virtd.8")),
        (
            "polkit/org.libvirt.unix.policy",
            prefix.join("share/polkit-1/actions/org.libvirt.unix.policy"),
        ),
        (
            "polkit/org.libvirt.api.policy",
            prefix.join("share/polkit-1/actions/org.libvirt.api.policy"),
        ),
        (
            "polkit/60-libvirt.rules",
            prefix.join("share/polkit-1/rules.d/60-libvirt.rules"),
        ),
        (
            "sysusers.d/libvirt.conf",
            prefix.join("lib/sysusers.d/libvirt.conf"),
        ),
        (
            "tmpfiles.d/libvirt.conf",
            prefix.join("lib/tmpfiles.d/libvirt.conf"),
        ),
        (
            "sysctl.d/60-libvirtd.conf",
            prefix.join("lib/sysctl.d/60-libvirtd.conf"),
        ),
        ("logrotate.d/libvirt", etc.join("logrotate.d/libvirt")),
    ] {
        installation.place(&files.join(file), &place, 0o644)?;
    }
    // An example, not the file itself: that one is the administrator's, and nothing has to stand in it.
    let example = prefix.join("share/doc/ferrovirt/libvirtd.conf");
    installation.write(&example, configuration(&run::program(build, "virtd")?)?, 0o644)
}

/// The configuration with every setting, as the program prints it.
fn configuration(program: &Path) -> Result<Vec<u8>> {
    let printed = Command::new(program)
        .arg("--print-config")
        .output()
        .context(|| program.display().to_string())?;
    if !printed.status.success() {
        let said = String::from_utf8_lossy(&printed.stderr);
        return Err(Failure::new(format!(
            "{} --print-config: {said}",
            program.display()
        )));
    }
    Ok(printed.stdout)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(name: &str, role: &str) -> Plugin {
        Plugin {
            name: name.to_owned(),
            object: PathBuf::new(),
            manifest: format!("name = \"{name}\"\nrole = \"{role}\"\n"),
            helpers: Vec::new(),
        }
    }

    #[test]
    fn daemons_are_installed_for_what_keeps_state_here() {
        let table = "# comment\nvirtqemud qemu guests QEMU guests\nvirtsecretd secret - secrets\nvirtxend xen guests x\n";
        let found = daemons(table, &[plugin("qemu", "stateful"), plugin("xen", "client")]);
        let names: Vec<&str> = found.iter().map(|daemon| daemon.name.as_str()).collect();
        assert_eq!(names, ["libvirtd", "virtproxyd", "virtqemud"]);
    }

    #[test]
    fn templates_are_filled_for_each_kind_of_daemon() {
        let template = "@modular@Conflicts=libvirtd.service\n@monolithic@Wants=@name@.socket\n@guests@KillMode=process\nExecStart=@sbindir@/@name@ $@ARGS@\n";
        let sbin = Path::new("/usr/sbin");
        assert_eq!(
            Daemon::monolithic().fill(template, sbin),
            "Wants=libvirtd.socket\nKillMode=process\nExecStart=/usr/sbin/libvirtd $LIBVIRTD_ARGS\n"
        );
        let secret = daemons("virtsecretd secret - secrets", &[plugin("secret", "stateful")]).remove(2);
        assert_eq!(
            secret.fill(template, sbin),
            "Conflicts=libvirtd.service\nExecStart=/usr/sbin/virtsecretd $VIRTSECRETD_ARGS\n"
        );
    }

    #[test]
    fn every_template_is_filled_completely() {
        let folder = task::root().join("crates/virtd/files/systemd");
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let text = Daemon::monolithic().fill(&read(&path).unwrap(), Path::new("/usr/sbin"));
            assert!(!text.contains('@'), "{}: {text}", path.display());
        }
    }
}
