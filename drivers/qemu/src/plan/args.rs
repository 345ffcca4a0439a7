//! Building blocks of a command line: ordered properties, QEMU's two notations for them, and the whole as text.

use serde_json::{Map, Value};
use virt_util::shell::{Layout, format_command};
use virt_util::{Result, VirtError};

/// Properties in the order in which they are said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Props(Map<String, Value>);

impl Props {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Properties of a device.
    pub fn device(driver: impl Into<String>) -> Self {
        Self::new().with("driver", driver.into())
    }

    /// Properties of an object.
    pub fn object(kind: &str, id: impl Into<String>) -> Self {
        Self::new().with("qom-type", kind).with("id", id.into())
    }

    /// Sets a property.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// Sets a property if there is a value for it.
    #[must_use]
    pub fn maybe<V: Into<Value>>(self, key: &str, value: Option<V>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Sets a number unless it is zero.
    #[must_use]
    pub fn positive(self, key: &str, value: impl Into<u64>) -> Self {
        let value = value.into();
        if value == 0 { self } else { self.with(key, value) }
    }

    /// Sets `on` or `off` if there is a value: for properties that know a third word.
    #[must_use]
    pub fn on_off(self, key: &str, value: Option<bool>) -> Self {
        self.maybe(key, value.map(on_off))
    }

    /// Sets a property before all others.
    #[must_use]
    pub fn first(self, key: &str, value: impl Into<Value>) -> Self {
        let mut map = Map::new();
        map.insert(key.to_owned(), value.into());
        map.extend(self.0);
        Self(map)
    }

    /// Appends other properties.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One property.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Takes a property out.
    pub fn remove(&mut self, key: &str) {
        self.0.shift_remove(key);
    }

    /// As a JSON value.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// Compact JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// QEMU's older notation, `key=value,…`, without the property `skip`. Commas in values are doubled.
    ///
    /// # Errors
    /// `INTERNAL_ERROR` for values that it cannot express.
    pub fn to_key_values(&self, skip: Option<&str>) -> Result<String> {
        let mut out = Vec::new();
        for (key, value) in self.0.iter().filter(|(key, _)| Some(key.as_str()) != skip) {
            key_value(key, value, &mut out)?;
        }
        Ok(out.join(","))
    }
}

impl From<Props> for Value {
    fn from(props: Props) -> Self {
        props.into_value()
    }
}

fn key_value(key: &str, value: &Value, out: &mut Vec<String>) -> Result<()> {
    match value {
        Value::String(text) => out.push(format!("{key}={}", escape_commas(text))),
        Value::Number(number) => out.push(format!("{key}={number}")),
        Value::Bool(on) => out.push(format!("{key}={}", on_off(*on))),
        Value::Object(map) => {
            for (inner, value) in map {
                key_value(&format!("{key}.{inner}"), value, out)?;
            }
        }
        Value::Array(list) => {
            for one in list {
                // A list of `{"str": …}` is QEMU's way to say a list of texts.
                key_value(key, one.get("str").unwrap_or(one), out)?;
            }
        }
        Value::Null => {
            return Err(VirtError::internal(format_args!(
                "'{key}' has no value that a command line can say"
            )));
        }
    }
    Ok(())
}

/// `on` or `off`.
pub fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// Doubles commas, as QEMU's option parser wants it.
pub fn escape_commas(text: &str) -> String {
    text.replace(',', ",,")
}

/// What a process needs a descriptor for. The one who starts it opens them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DescriptorUse {
    /// A unix socket that is listened on.
    ListenSocket {
        /// Path of the socket.
        path: String,
        /// Id of the character device.
        chardev: String,
    },
    /// A file that a character device writes.
    ChardevFile {
        /// Path.
        path: String,
        /// What was there is kept.
        append: bool,
        /// Alias of the device.
        device: String,
    },
    /// A file that gets a copy of what a character device writes.
    ChardevLog {
        /// Path.
        path: String,
        /// What was there is kept.
        append: bool,
        /// Alias of the device.
        device: String,
    },
    /// One queue of a tap device.
    Tap {
        /// Alias of the interface.
        device: String,
        /// Number of the queue.
        queue: u32,
        /// It becomes a port of a bridge.
        bridged: bool,
    },
    /// The kernel's back end for one queue of a tap device.
    VhostNet {
        /// Alias of the interface.
        device: String,
        /// Number of the queue.
        queue: u32,
    },
    /// The kernel's back end of a vsock device.
    VhostVsock {
        /// Alias of the device.
        device: String,
    },
    /// The kernel's SCSI target.
    VhostScsi {
        /// Alias of the device.
        device: String,
    },
    /// A TPM of the host.
    Tpm {
        /// Path.
        path: String,
    },
    /// The file that cancels what a TPM of the host does.
    TpmCancel {
        /// Path of the TPM.
        path: String,
    },
    /// A vDPA device.
    Vdpa {
        /// Path.
        path: String,
        /// Alias of the interface.
        device: String,
    },
}

/// A descriptor that the process gets under a number of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Number in the new process.
    pub number: i32,
    /// What it is.
    pub usage: DescriptorUse,
}

/// A command with its environment and descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// Path of the program.
    pub program: String,
    /// The whole environment, in order.
    pub environment: Vec<(String, String)>,
    /// Arguments after the program's name.
    pub arguments: Vec<String>,
    /// Descriptors that it is given.
    pub descriptors: Vec<Descriptor>,
}

impl CommandLine {
    /// An option without a value.
    pub fn flag(&mut self, option: &str) {
        self.arguments.push(option.to_owned());
    }

    /// An option with a value.
    pub fn option(&mut self, option: &str, value: impl Into<String>) {
        self.arguments.push(option.to_owned());
        self.arguments.push(value.into());
    }

    /// `-object`.
    pub fn object(&mut self, props: &Props) {
        self.option("-object", props.to_json());
    }

    /// `-blockdev`.
    pub fn blockdev(&mut self, props: &Props) {
        self.option("-blockdev", props.to_json());
    }

    /// Sets a variable; a second value replaces the first at its place.
    pub fn set_environment(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.environment.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.environment.push((name.to_owned(), value)),
        }
    }

    /// The command as a shell would take it: an environment assignment or an option with its value a line.
    pub fn to_shell(&self) -> String {
        let environment: Vec<String> = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let words: Vec<&String> = std::iter::once(&self.program).chain(&self.arguments).collect();
        format_command(&environment, &words, Layout::Lines) + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_is_kept_and_zero_is_nothing() {
        let props = Props::device("ide-hd")
            .with("unit", 0)
            .positive("bootindex", 0u32)
            .positive("cyls", 5u32)
            .maybe("serial", None::<&str>)
            .on_off("write-cache", Some(true))
            .maybe("share-rw", Some(true));
        assert_eq!(
            props.to_json(),
            r#"{"driver":"ide-hd","unit":0,"cyls":5,"write-cache":"on","share-rw":true}"#
        );
        assert_eq!(
            props.to_key_values(Some("driver")).unwrap(),
            "unit=0,cyls=5,write-cache=on,share-rw=on"
        );
    }

    #[test]
    fn nested_values_and_commas() {
        let props = Props::new()
            .with("path", "/a,b")
            .with("server", json!({"type": "inet", "port": 1}))
            .with("guestfwd", json!([{"str": "x"}, {"str": "y"}]));
        assert_eq!(
            props.to_key_values(None).unwrap(),
            "path=/a,,b,server.type=inet,server.port=1,guestfwd=x,guestfwd=y"
        );
        assert!(
            Props::new()
                .with("backing", Value::Null)
                .to_key_values(None)
                .is_err()
        );
    }

    #[test]
    fn text_form() {
        let mut command = CommandLine {
            program: "/usr/bin/qemu".into(),
            ..CommandLine::default()
        };
        command.set_environment("A", "1");
        command.set_environment("A", "2");
        command.flag("-S");
        command.option("-name", "guest=a b");
        command.flag("-nodefaults");
        assert_eq!(
            command.to_shell(),
            "A=2 \\\n/usr/bin/qemu \\\n-S \\\n-name 'guest=a b' \\\n-nodefaults\n"
        );
    }
}
