//! `docs/drivers.md`: what each driver does and how that is proven, read from the drivers' sources.
//!
//! Nothing is listed by hand: a method counts if it is written below `#[implements]`, a test if it is one, an area of
//! conformance if an adapter for it calls the driver.

use crate::check::Source;
use crate::task;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where the driver traits are generated to, one file each.
const TRAITS: &str = "crates/virt-api/src/protocol/generated/traits";

/// Where the adapters of the conformance harness are.
const ADAPTERS: &str = "tests/conformance/src/adapters";

/// A driver as its source shows it.
struct Driver {
    name: String,
    kind: String,
    role: String,
    schemes: Vec<String>,
    folder: PathBuf,
    about: String,
    /// Trait and method, sorted.
    methods: BTreeSet<(String, String)>,
    /// Whether it passes on whatever it is asked.
    forwards: bool,
    tests: usize,
    areas: BTreeSet<String>,
}

/// The page.
pub fn generate() -> Vec<(PathBuf, String)> {
    let root = task::root();
    let mut drivers: Vec<Driver> = ["drivers", "secondary"]
        .iter()
        .flat_map(|room| std::fs::read_dir(root.join(room)).into_iter().flatten())
        .filter_map(|entry| read(&root, &entry.ok()?.path()))
        .collect();
    drivers.sort_by(|a, b| a.name.cmp(&b.name));
    vec![(PathBuf::from("docs/drivers.md"), page(&root, &drivers))]
}

/// Reads one driver's folder; `None` if nothing there says `driver!`.
fn read(root: &Path, folder: &Path) -> Option<Driver> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    let sources: Vec<(PathBuf, String)> = files
        .into_iter()
        .filter_map(|file| Some((file.clone(), std::fs::read_to_string(file).ok()?)))
        .collect();
    let declaration = sources.iter().find_map(|(_, text)| declaration(text))?;
    let mut words = declaration.split(',').map(str::trim);
    let name = words.next()?.trim_matches('"').to_owned();
    let field = |key: &str| {
        let start = declaration.find(&format!("{key} ="))? + key.len() + 2;
        let rest = declaration.get(start..)?.trim_start();
        Some(rest.trim_start_matches('"').split('"').next()?.to_owned())
    };
    let schemes = match declaration
        .split_once("schemes =")
        .and_then(|(_, rest)| rest.split_once('[')?.1.split_once(']'))
    {
        Some((list, _)) => list
            .split(',')
            .map(|s| s.trim().trim_matches('"').to_owned())
            .filter(|s| !s.is_empty())
            .collect(),
        None => vec![name.clone()],
    };
    let manifest: toml::Table = std::fs::read_to_string(folder.join("Cargo.toml"))
        .ok()?
        .parse()
        .ok()?;
    let package = manifest.get("package")?;
    let crate_name = package.get("name")?.as_str()?.replace('-', "_");
    Some(Driver {
        kind: field("kind").unwrap_or_else(|| "hypervisor".to_owned()),
        role: field("role").unwrap_or_else(|| "client".to_owned()),
        schemes,
        folder: folder.strip_prefix(root).ok()?.to_owned(),
        about: package
            .get("description")
            .and_then(toml::Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        methods: sources
            .iter()
            .flat_map(|(_, text)| {
                let code = Source::new(text).code();
                let mut methods = implemented(&code);
                methods.extend(shared(root, &code));
                methods
            })
            .collect(),
        tests: sources
            .iter()
            .map(|(_, text)| Source::new(text).code().matches("#[test]").count())
            .sum(),
        forwards: sources
            .iter()
            .any(|(_, text)| Source::new(text).code().contains("impl Passthrough for")),
        areas: areas(root, &crate_name),
        name,
    })
}

/// What stands between the brackets of `driver!(…)`, literals kept, outside comments.
fn declaration(text: &str) -> Option<String> {
    let source = Source::new(text);
    source
        .arguments_of("driver!(")
        .into_iter()
        .map(|(_, argument)| argument)
        .next()
}

/// Trait and method of everything written below `#[implements]`.
fn implemented(code: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, word) in code.match_indices("implements") {
        let behind = code.get(at + word.len()..).unwrap_or_default();
        if !behind.starts_with([']', '(']) {
            continue;
        }
        let Some((head, body)) = behind.split_once('{') else {
            continue;
        };
        // `impl Trait for X` or `impl<T: Bound> Trait for T`.
        let Some(name) = head
            .split_once("impl")
            .and_then(|(_, rest)| rest.split_once(" for "))
            .and_then(|(of, _)| of.rsplit([' ', '>']).next())
        else {
            continue;
        };
        let mut depth = 1_usize;
        for line in body.lines() {
            if depth == 1
                && let Some((_, rest)) = line.split_once("fn ")
            {
                let method = rest
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or_default();
                found.push((name.to_owned(), method.to_owned()));
            }
            depth = (depth + line.matches('{').count()).saturating_sub(line.matches('}').count());
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// Trait and method of the parts that several drivers share, `virt_api::…` of `implements(parts(…))`.
fn shared(root: &Path, code: &str) -> Vec<(String, String)> {
    let lists = code
        .split("implements(parts(")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    lists
        .flat_map(|(list, _)| list.split(','))
        .filter_map(|module| module.trim().strip_prefix("virt_api::"))
        .flat_map(|module| {
            let file = root
                .join("crates/virt-api/src")
                .join(module.replace("::", "/"))
                .with_extension("rs");
            let text = std::fs::read_to_string(file).unwrap_or_default();
            implemented(&Source::new(&text).code())
        })
        .collect()
}

/// The conformance areas of which an adapter names this crate.
fn areas(root: &Path, crate_name: &str) -> BTreeSet<String> {
    let table = std::fs::read_to_string(root.join(ADAPTERS).join("mod.rs")).unwrap_or_default();
    let mut files = Vec::new();
    collect(&root.join(ADAPTERS), &mut files);
    let mut found = BTreeSet::new();
    for file in files
        .iter()
        .filter(|file| file.file_name().is_none_or(|name| name != "mod.rs"))
    {
        let names =
            std::fs::read_to_string(file).is_ok_and(|text| Source::new(&text).code().contains(crate_name));
        let module = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if names {
            // Rows of the table: ("area", "kind", module::function).
            let mut previous: Vec<&str> = Vec::new();
            for word in table
                .split(['(', ')', ','])
                .map(str::trim)
                .filter(|w| !w.is_empty())
            {
                if word.starts_with(&format!("{module}::"))
                    && let [.., area, _] = previous.as_slice()
                {
                    found.insert(area.trim_matches('"').to_owned());
                }
                previous.push(word);
            }
        }
    }
    found
}

/// How many methods a trait has.
fn size_of_trait(root: &Path, name: &str) -> usize {
    let mut files = Vec::new();
    collect(&root.join(TRAITS), &mut files);
    let methods = files.iter().find_map(|file| {
        let code = Source::new(&std::fs::read_to_string(file).ok()?).code();
        let body = code.split_once(&format!("trait {name}"))?.1.to_owned();
        Some(body.lines().filter(|line| line.starts_with("    fn ")).count())
    });
    // `implemented_methods` is no procedure.
    methods.unwrap_or(0).saturating_sub(1)
}

/// The page's text.
fn page(root: &Path, drivers: &[Driver]) -> String {
    let mut out = "<!-- Written by `cargo xtask codegen` from the drivers' sources. -->\n\n# Drivers\n\n\
         What each driver does, and how that is proven. A procedure that a driver does not have answers \"this function \
         is not supported by the connection driver\".\n\n\
         | driver | URIs | runs | procedures | tests of its own | conformance |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for driver in drivers {
        let traits: BTreeSet<&String> = driver.methods.iter().map(|(name, _)| name).collect();
        let counts: Vec<String> = traits
            .iter()
            .map(|name| {
                let written = driver.methods.iter().filter(|(of, _)| of == *name).count();
                format!(
                    "{written} of {} ({})",
                    size_of_trait(root, name),
                    driver.kind_of(name)
                )
            })
            .collect();
        let runs = if driver.role == "stateful" {
            "in the process that hosts it"
        } else {
            "in any process"
        };
        let _ = writeln!(
            out,
            "| [{}](../{}) | {} | {runs} | {} | {} | {} |",
            driver.name,
            driver.folder.display(),
            driver
                .schemes
                .iter()
                .map(|s| format!("`{s}:`"))
                .collect::<Vec<_>>()
                .join(" "),
            if driver.forwards {
                "all, passed on".to_owned()
            } else if counts.is_empty() {
                "none yet".to_owned()
            } else {
                counts.join(", ")
            },
            driver.tests,
            if driver.areas.is_empty() {
                "-".to_owned()
            } else {
                driver.areas.iter().cloned().collect::<Vec<_>>().join(", ")
            },
        );
    }
    for driver in drivers {
        let _ = write!(
            out,
            "\n## {}\n\n{}.\n",
            driver.name,
            driver.about.trim_end_matches('.')
        );
        let traits: BTreeSet<&String> = driver.methods.iter().map(|(name, _)| name).collect();
        for name in traits {
            let methods = driver
                .methods
                .iter()
                .filter(|(of, _)| of == name)
                .map(|(_, method)| format!("`{method}`"));
            let _ = write!(out, "\n{name}: {}.\n", methods.collect::<Vec<_>>().join(", "));
        }
    }
    out
}

impl Driver {
    /// A trait's name as the table shows it.
    fn kind_of(&self, name: &str) -> String {
        let bare = name.strip_suffix("Driver").unwrap_or(name).to_lowercase();
        if bare == self.kind {
            self.kind.clone()
        } else {
            bare
        }
    }
}

/// Adds the `.rs` files below a folder.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
    {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{declaration, implemented};

    #[test]
    fn methods_below_the_attribute_count() {
        let code = "
#[virt_api::implements]
impl HypervisorDriver for X {
    #[inline_safe]
    fn one(&self) -> u8 {
        fn inner() {}
        1
    }

    fn two(
        &self,
    ) {
    }
}
#[implements(part)]
impl HypervisorDriver for X {
    fn three(&self) {}
}
#[implements(parts(a, b))]
impl HypervisorDriver for X {}
#[implements(shared(a::b))]
impl<T: Bound> NetworkDriver for T {
    fn one(&self) {}
}
impl Other for X {
    fn four() {}
}
";
        let names: Vec<String> = implemented(code)
            .into_iter()
            .map(|(of, method)| format!("{of}.{method}"))
            .collect();
        assert_eq!(
            names,
            [
                "HypervisorDriver.one",
                "HypervisorDriver.two",
                "HypervisorDriver.three",
                "NetworkDriver.one"
            ]
        );
    }

    #[test]
    fn the_declaration_is_found_outside_comments() {
        let text = "//! virt_api::driver!(\"no\", No);\nvirt_api::driver!(\"qemu\", Qemu, role = \"stateful\", schemes = [\"qemu\"]);";
        let found = declaration(text).unwrap_or_default();
        assert!(
            found.starts_with("\"qemu\", Qemu, role = \"stateful\""),
            "{found}"
        );
    }
}
