//! Corpora on disk: an area is a folder with a `manifest.json`, an array of [`Case`]s.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What must become of a case.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// The operation succeeds and gives the recorded result.
    #[default]
    Ok,
    /// The input must be refused by the parser or the validator.
    ParseError,
    /// The operation must fail, after the input was accepted.
    Failure,
}

impl Expect {
    /// Whether the case must be refused at some stage.
    pub fn is_refusal(self) -> bool {
        self != Self::Ok
    }
}

/// One case of a manifest.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Case {
    /// Unique in its area.
    pub id: String,
    /// What is done with it: chooses the adapter.
    pub kind: String,
    /// The area, filled in when the manifest is loaded.
    #[serde(skip)]
    pub area: String,
    /// A file, or an object or list of files.
    #[serde(default)]
    pub input: Value,
    /// Expected output files by role.
    #[serde(default)]
    pub expected: Map<String, Value>,
    /// What must become of it.
    #[serde(default)]
    pub expect: Expect,
    /// Options.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Architecture of guest and host.
    #[serde(default)]
    pub arch: Option<String>,
    /// Other input values and inline expected values.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Every other field, by name.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

impl Case {
    /// Whether an option is set.
    pub fn has_flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    /// The input's path where the input is one file.
    pub fn input_file(&self) -> Result<&str, String> {
        self.input
            .as_str()
            .ok_or_else(|| "the case names no single input file".to_owned())
    }

    /// A parameter, `Null` where it is absent.
    pub fn param(&self, name: &str) -> &Value {
        self.params.get(name).unwrap_or(&Value::Null)
    }

    /// A parameter that is a text.
    pub fn text(&self, name: &str) -> Result<&str, String> {
        self.param(name)
            .as_str()
            .ok_or_else(|| format!("the case has no text parameter '{name}'"))
    }
}

/// One or several corpus folders: cases come from the first, files from the first that has them.
#[derive(Clone, Debug)]
pub struct Corpus {
    folders: Vec<PathBuf>,
}

impl Corpus {
    /// A corpus of these folders; each must exist.
    pub fn open(folders: &[PathBuf]) -> Result<Self, String> {
        if folders.is_empty() {
            return Err("no corpus folder given".to_owned());
        }
        for folder in folders {
            if !folder.is_dir() {
                return Err(format!("corpus folder {} does not exist", folder.display()));
            }
        }
        Ok(Self {
            folders: folders.to_vec(),
        })
    }

    /// Names of all areas, sorted.
    pub fn areas(&self) -> Result<Vec<String>, String> {
        let Some(first) = self.folders.first() else {
            return Ok(Vec::new());
        };
        let entries = std::fs::read_dir(first).map_err(|e| format!("{}: {e}", first.display()))?;
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().join("manifest.json").is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// The cases of an area, in the manifest's order.
    pub fn cases(&self, area: &str) -> Result<Vec<Case>, String> {
        let Some(first) = self.folders.first() else {
            return Ok(Vec::new());
        };
        let path = first.join(area).join("manifest.json");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut cases: Vec<Case> =
            serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        for case in &mut cases {
            area.clone_into(&mut case.area);
        }
        Ok(cases)
    }

    /// Where a file of the corpus lies.
    pub fn path(&self, name: &str) -> Result<PathBuf, String> {
        let found = self
            .folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| path.exists());
        found.ok_or_else(|| format!("no corpus folder has {name}"))
    }

    /// A file's bytes.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.path(name)?;
        std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// A file's text.
    pub fn text(&self, name: &str) -> Result<String, String> {
        String::from_utf8(self.bytes(name)?).map_err(|e| format!("{name}: {e}"))
    }

    /// The text of a case's input file.
    pub fn input(&self, case: &Case) -> Result<String, String> {
        self.text(case.input_file()?)
    }

    /// The text of the expected file with this role, if the case has one.
    pub fn expected(&self, case: &Case, role: &str) -> Result<Option<String>, String> {
        match case.expected.get(role).and_then(Value::as_str) {
            Some(name) => self.text(name).map(Some),
            None => Ok(None),
        }
    }

    /// All folders, the first one first.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(PathBuf::as_path)
    }
}
