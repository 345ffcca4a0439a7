//! Installing Debian packages, for `--install` and CI.
//!
//! A machine may have some of QEMU's packages from the backports suite already; the rest must then come from there
//! too, since they depend on each other by exact version. Stock libvirt comes from there where the suite itself has one
//! that is older than the release we are held against. Where backports are not among the machine's sources, they are
//! added with the base address that its other sources have.

use crate::task::{self, Context, Failure, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages that are built from one source, so that all must come from one suite.
const FAMILIES: &[(&str, &[&str])] = &[
    ("qemu-utils", &["qemu-"]),
    ("qemu-system-common", &["qemu-"]),
    ("libvirt0", &["libvirt-"]),
];

/// Packages of stock libvirt's source, and the release that all comparisons are with.
const PEER: (&str, (u32, u32)) = ("libvirt-", (11, 3));

/// Installs packages. None is fine.
pub fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let wanted = packages.join(" ");
    if task::find_program("apt-get").is_none() {
        return Err(Failure::new(format!(
            "this is no Debian; install yourself what these packages hold: {wanted}"
        )));
    }
    if !is_root() {
        return Err(Failure::new(format!(
            "needs root; or run: apt-get install {wanted}"
        )));
    }
    apt(&["update"])?;
    let (backports, plain): (Vec<&str>, Vec<&str>) = packages
        .iter()
        .partition(|name| from_backports(name) || is_old_peer(name));
    let suite = if backports.is_empty() {
        None
    } else {
        let (suite, added) = backports_suite()?;
        if added {
            apt(&["update"])?;
        }
        Some(suite)
    };
    apt(&[&["install", "--yes", "--no-install-recommends"], plain.as_slice()].concat())?;
    if let Some(suite) = suite {
        apt(&[
            &["install", "--yes", "--no-install-recommends", "-t", &suite],
            backports.as_slice(),
        ]
        .concat())?;
    }
    Ok(())
}

/// Runs apt-get without questions.
fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    if task::succeeds(&mut command)? {
        Ok(())
    } else {
        Err(Failure::new(format!("{} failed", task::describe(&command))))
    }
}

/// Whether we are root.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.and_then(|ids| ids.split_whitespace().nth(1))
        .is_some_and(|effective| effective == "0")
}

/// Whether a package must come from backports, since its relatives on this machine did.
fn from_backports(package: &str) -> bool {
    FAMILIES.iter().any(|(relative, prefixes)| {
        prefixes.iter().any(|prefix| package.starts_with(prefix))
            && installed(relative).is_some_and(|v| v.contains("~bpo"))
    })
}

/// Whether a package of stock libvirt would come in a release that is older than the one we are held against.
fn is_old_peer(package: &str) -> bool {
    let (prefix, release) = PEER;
    package.starts_with(prefix) && candidate(package).is_some_and(|version| is_older(&version, release))
}

/// Whether a Debian version is of an older release than `MAJOR.MINOR`.
fn is_older(version: &str, release: (u32, u32)) -> bool {
    let upstream = version.split_once(':').map_or(version, |(_, upstream)| upstream);
    let mut numbers = upstream
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), minor) => (major, minor.unwrap_or(0)) < release,
        (None, _) => false,
    }
}

/// The version that apt would install.
fn candidate(package: &str) -> Option<String> {
    let out = Command::new("apt-cache")
        .args(["policy", package])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "));
    line.map(str::to_owned)
}

/// The installed version of a package.
fn installed(package: &str) -> Option<String> {
    let out = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Version}", package])
        .output()
        .ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    text.strip_prefix("installed ").map(str::to_owned)
}

/// The name of the backports suite, which is made one of apt's sources if it is none yet, and whether it was.
fn backports_suite() -> Result<(String, bool)> {
    let release = task::read(Path::new("/etc/os-release"))?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename
        .ok_or("/etc/os-release names no VERSION_CODENAME")?
        .trim_matches('"');
    let suite = format!("{codename}-backports");
    let sources: Vec<Source> = source_files()
        .iter()
        .flat_map(|file| sources(&task::read(file).unwrap_or_default()))
        .collect();
    if sources.iter().any(|source| source.suites.contains(&suite)) {
        return Ok((suite, false));
    }
    let main = sources
        .iter()
        .find(|source| source.suites.iter().any(|s| s == codename));
    let main =
        main.ok_or_else(|| Failure::new(format!("apt has no source for {codename}, so none for {suite}")))?;
    let signed = main
        .signed_by
        .as_ref()
        .map(|key| format!(" [signed-by={key}]"))
        .unwrap_or_default();
    let line = format!("deb{signed} {} {suite} main\n", main.address);
    let file = Path::new("/etc/apt/sources.list.d/backports-for-ferrovirt.list");
    task::write(file, line).context(|| "adding the backports suite".to_owned())?;
    Ok((suite, true))
}

/// The files that name apt's sources.
fn source_files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    let more = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let known = |path: &PathBuf| {
        path.extension()
            .is_some_and(|ext| ext == "list" || ext == "sources")
    };
    std::iter::once(PathBuf::from("/etc/apt/sources.list"))
        .chain(more)
        .filter(known)
        .collect()
}

/// A source of packages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Source {
    address: String,
    suites: Vec<String>,
    signed_by: Option<String>,
}

/// The sources of binary packages in a file, in either of apt's two formats.
fn sources(text: &str) -> Vec<Source> {
    let mut found: Vec<Source> = text.lines().filter_map(one_line).collect();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
        };
        let is_binary = field("Types").is_some_and(|types| types.split_whitespace().any(|t| t == "deb"));
        let enabled = field("Enabled").is_none_or(|word| word != "no");
        if let (true, true, Some(addresses), Some(suites)) =
            (is_binary, enabled, field("URIs"), field("Suites"))
        {
            found.extend(addresses.split_whitespace().next().map(|address| Source {
                address: address.to_owned(),
                suites: suites.split_whitespace().map(str::to_owned).collect(),
                signed_by: field("Signed-By").filter(|key| key.starts_with('/')),
            }));
        }
    }
    found
}

/// A source in the old format: `deb [options] address suite component…`.
fn one_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let signed_by = options
        .split_whitespace()
        .find_map(|o| o.strip_prefix("signed-by="))
        .map(str::to_owned);
    Some(Source {
        address: words.next()?.to_owned(),
        suites: vec![words.next()?.to_owned()],
        signed_by,
    })
}

#[cfg(test)]
mod tests {
    use super::{PEER, Source, is_older, sources};

    #[test]
    fn an_old_peer_is_known_by_its_version() {
        let (_, release) = PEER;
        for (version, older) in [
            ("9.0.0-4+deb12u2", true),
            ("11.2.1-1", true),
            ("11.3.0-2~bpo12+1", false),
            ("1:11.10.0-1", false),
            ("12", false),
            ("(none)", false),
        ] {
            assert_eq!(is_older(version, release), older, "{version}");
        }
    }

    #[test]
    fn both_formats_are_read() {
        let old = "# deb http://a.example/x no main\ndeb-src http://a.example/x no main\n\
                   deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian stable main contrib\n";
        let new = "Types: deb deb-src\nURIs: http://b.example/debian\nSuites: stable stable-updates\nComponents: main\n\
                   Signed-By: /k.gpg\n\nTypes: deb\nEnabled: no\nURIs: http://c.example/\nSuites: other\n\n\
                   Types: deb-src\nURIs: http://d.example/\nSuites: other\n";
        let source = |address: &str, suites: &[&str]| Source {
            address: address.to_owned(),
            suites: suites.iter().map(|s| (*s).to_owned()).collect(),
            signed_by: Some("/k.gpg".to_owned()),
        };
        assert_eq!(sources(old), [source("http://a.example/debian", &["stable"])]);
        assert_eq!(
            sources(new),
            [source("http://b.example/debian", &["stable", "stable-updates"])]
        );
    }
}
