//! The types of settings: how each is read from the file's syntax, and how it is written there.

use std::fmt;

use virt_util::conf_file::ConfValue;
use virt_util::{ErrorCode, log_settings};

use crate::auth::sasl::Mechanism;

/// Why a value is refused: libvirt's code, and what would have been taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The code of the error.
    pub code: ErrorCode,
    /// What is allowed: "expected …".
    pub allowed: String,
}

impl Wrong {
    /// A value of another type than the setting's.
    fn kind(allowed: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::INTERNAL_ERROR,
            allowed: allowed.into(),
        }
    }

    /// A value of the right type that means nothing here.
    fn meaning(allowed: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::CONFIG_UNSUPPORTED,
            allowed: allowed.into(),
        }
    }
}

/// A type that settings can have.
pub trait Setting: Sized + PartialEq {
    /// What it is called in tables and messages.
    const KIND: &'static str;

    /// From the file.
    fn read(value: &ConfValue) -> Result<Self, Wrong>;

    /// For the file; `None` if it is not set.
    fn show(&self) -> Option<ConfValue>;
}

fn number(value: &ConfValue, kind: &str, min: i64, max: i64) -> Result<i64, Wrong> {
    let wrong = || Wrong::kind(format!("expected {kind}, {min} to {max}"));
    let number = match value {
        ConfValue::Negative(number) => *number,
        ConfValue::Number(number) => i64::try_from(*number).map_err(|_| wrong())?,
        ConfValue::String(_) | ConfValue::List(_) => return Err(wrong()),
    };
    match (min..=max).contains(&number) {
        true => Ok(number),
        false => Err(wrong()),
    }
}

fn text(value: &ConfValue) -> Result<&str, Wrong> {
    match value {
        ConfValue::String(text) => Ok(text),
        _ => Err(Wrong::kind("expected a string in quotes")),
    }
}

impl Setting for bool {
    const KIND: &'static str = "0 or 1";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        match value {
            ConfValue::Number(number @ (0 | 1)) => Ok(*number == 1),
            _ => Err(Wrong::kind("expected 0 or 1")),
        }
    }

    fn show(&self) -> Option<ConfValue> {
        Some((*self).into())
    }
}

impl Setting for u32 {
    const KIND: &'static str = "number";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let number = number(value, "a number", 0, u32::MAX.into())?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn show(&self) -> Option<ConfValue> {
        Some(u64::from(*self).into())
    }
}

impl Setting for i32 {
    const KIND: &'static str = "number or -1";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let number = number(value, "a number", i32::MIN.into(), i32::MAX.into())?;
        Ok(i32::try_from(number).unwrap_or(i32::MAX))
    }

    fn show(&self) -> Option<ConfValue> {
        Some(match u64::try_from(*self) {
            Ok(number) => number.into(),
            Err(_) => ConfValue::Negative((*self).into()),
        })
    }
}

/// A number of which there must be at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtLeastOne(pub u32);

impl Setting for AtLeastOne {
    const KIND: &'static str = "number from 1";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let number = number(value, "a number", 1, u32::MAX.into())?;
        Ok(Self(u32::try_from(number).unwrap_or(u32::MAX)))
    }

    fn show(&self) -> Option<ConfValue> {
        self.0.show()
    }
}

/// Microseconds for which threads that have nothing to do keep their processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StayAwake(pub u32);

impl Setting for StayAwake {
    const KIND: &'static str = "number, 0 to 1000";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let number = number(value, "a number", 0, 1000)?;
        Ok(Self(u32::try_from(number).unwrap_or_default()))
    }

    fn show(&self) -> Option<ConfValue> {
        self.0.show()
    }
}

impl Setting for String {
    const KIND: &'static str = "string";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        text(value).map(str::to_owned)
    }

    fn show(&self) -> Option<ConfValue> {
        Some(self.as_str().into())
    }
}

/// A list of strings. An empty list is not the same as none: an empty list of those who are allowed allows nobody.
impl Setting for Vec<String> {
    const KIND: &'static str = "list of strings";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let wrong = || Wrong::kind("expected a list of strings, as in [ \"one\", \"two\" ]");
        let ConfValue::List(items) = value else {
            return Err(wrong());
        };
        items
            .iter()
            .map(|item| match item {
                ConfValue::String(text) => Ok(text.clone()),
                _ => Err(wrong()),
            })
            .collect()
    }

    fn show(&self) -> Option<ConfValue> {
        Some(ConfValue::List(
            self.iter().map(|text| text.as_str().into()).collect(),
        ))
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: &'static str = T::KIND;

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        T::read(value).map(Some)
    }

    fn show(&self) -> Option<ConfValue> {
        self.as_ref()?.show()
    }
}

/// How clients of a socket prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Auth {
    /// Whoever can connect may stay.
    None,
    /// By a SASL mechanism.
    Sasl,
    /// By asking polkit about the process at the other end.
    Polkit,
}

impl Auth {
    const ALL: [(Self, &'static str); 3] = [
        (Self::None, "none"),
        (Self::Sasl, "sasl"),
        (Self::Polkit, "polkit"),
    ];

    /// libvirt's number, in what daemons leave to their successors.
    pub fn number(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Sasl => 1,
            Self::Polkit => 2,
        }
    }

    /// The one with that number.
    pub fn of_number(number: i32) -> Option<Self> {
        Self::ALL
            .iter()
            .map(|(auth, _)| *auth)
            .find(|auth| auth.number() == number)
    }

    /// The name in the file.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(auth, _)| *auth == self)
            .map_or("none", |(_, name)| name)
    }
}

impl Setting for Auth {
    const KIND: &'static str = "none, sasl or polkit";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let name = text(value)?;
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(auth, _)| *auth)
            .ok_or_else(|| Wrong::meaning("expected \"none\", \"sasl\" or \"polkit\""))
    }

    fn show(&self) -> Option<ConfValue> {
        Some(self.name().into())
    }
}

/// The mode of a socket's file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl fmt::Debug for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06o}", self.0)
    }
}

impl Setting for SocketMode {
    const KIND: &'static str = "octal mode in a string";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let text = text(value)?;
        // As C reads numbers. What a mode of a socket cannot have is left out, as by the umask with which libvirt sets it.
        match i32::from_str_radix(text.trim_ascii_start(), 8) {
            Ok(mode) => Ok(Self(mode.cast_unsigned() & 0o777)),
            Err(_) => Err(Wrong::meaning("expected an octal mode in quotes, as \"0770\"")),
        }
    }

    fn show(&self) -> Option<ConfValue> {
        Some(ConfValue::String(format!("{:04o}", self.0)))
    }
}

/// A TCP port: a number, or the name of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port(pub String);

impl Port {
    /// The port's number: the digits, or what the host's table of services says.
    pub fn number(&self) -> Option<u16> {
        if let Ok(number) = self.0.parse() {
            return Some(number);
        }
        let services = std::fs::read_to_string("/etc/services").ok()?;
        services.lines().find_map(|line| {
            let mut words = line.split('#').next()?.split_ascii_whitespace();
            let name = words.next()?;
            let port = words.next()?.strip_suffix("/tcp")?;
            (name == self.0 || words.any(|alias| alias == self.0)).then(|| port.parse().ok())?
        })
    }
}

impl Setting for Port {
    const KIND: &'static str = "port or service in a string";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let text = text(value)
            .map_err(|_| Wrong::kind("expected a port or the name of a service in quotes, as \"16509\""))?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() || (digits && text.parse::<u16>().is_err()) {
            return Err(Wrong::meaning(
                "expected a port from 0 to 65535 or the name of a service",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> Option<ConfValue> {
        Some(self.0.as_str().into())
    }
}

/// The least strength of a SASL security layer, as a number of key bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinSsf(pub u32);

/// Nothing weaker can be asked for. The default is weaker for Kerberos' sake, as libvirt has it.
const SSF_LEAST: i64 = 112;

impl Setting for MinSsf {
    const KIND: &'static str = "number from 112";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let number = u32::read(value)?;
        match i64::from(number) < SSF_LEAST {
            true => Err(Wrong::meaning(format!("expected {SSF_LEAST} or more"))),
            false => Ok(Self(number)),
        }
    }

    fn show(&self) -> Option<ConfValue> {
        self.0.show()
    }
}

/// The least important messages that are logged: 1 to 4; 0 leaves it to the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel(pub u32);

impl Setting for LogLevel {
    const KIND: &'static str = "number from 1 to 4";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let allowed = "1 (debug), 2 (information), 3 (warnings), 4 (errors) or 0 (the default)";
        match number(value, "a number", 0, 4) {
            Ok(number) => Ok(Self(u32::try_from(number).unwrap_or_default())),
            Err(_) => Err(Wrong {
                code: ErrorCode::INVALID_ARG,
                allowed: format!("expected {allowed}"),
            }),
        }
    }

    fn show(&self) -> Option<ConfValue> {
        self.0.show()
    }
}

/// A string that `parse` understands.
fn log_setting<T>(
    value: &ConfValue,
    parse: impl FnOnce(&str) -> virt_util::Result<T>,
) -> Result<String, Wrong> {
    let text = text(value)?;
    match parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Wrong {
            code: error.code(),
            allowed: error.detail().to_owned(),
        }),
    }
}

/// Log filters in their own syntax, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilters(pub String);

impl Setting for LogFilters {
    const KIND: &'static str = "log filters in a string";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        log_setting(value, log_settings::parse_filters).map(Self)
    }

    fn show(&self) -> Option<ConfValue> {
        Some(self.0.as_str().into())
    }
}

/// Log outputs in their own syntax, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOutputs(pub String);

impl Setting for LogOutputs {
    const KIND: &'static str = "log outputs in a string";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        log_setting(value, log_settings::parse_outputs).map(Self)
    }

    fn show(&self) -> Option<ConfValue> {
        Some(self.0.as_str().into())
    }
}

/// Where the UUID of the host comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostUuidSource {
    /// The firmware's tables.
    Smbios,
    /// `/etc/machine-id`.
    MachineId,
}

impl Setting for HostUuidSource {
    const KIND: &'static str = "smbios or machine-id";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        match text(value)? {
            "smbios" => Ok(Self::Smbios),
            "machine-id" => Ok(Self::MachineId),
            _ => Err(Wrong::meaning("expected \"smbios\" or \"machine-id\"")),
        }
    }

    fn show(&self) -> Option<ConfValue> {
        Some(
            match self {
                Self::Smbios => "smbios",
                Self::MachineId => "machine-id",
            }
            .into(),
        )
    }
}

/// The UUID of the host. One whose digits are all the same is refused: it is somebody's placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostUuid(pub String);

impl Setting for HostUuid {
    const KIND: &'static str = "UUID in a string";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        let text = text(value)?;
        match virt_util::uuid::parse(text) {
            Ok(uuid) if virt_util::uuid::is_meaningful(&uuid) => Ok(Self(text.to_owned())),
            _ => Err(Wrong::meaning(
                "expected a UUID whose digits are not all the same",
            )),
        }
    }

    fn show(&self) -> Option<ConfValue> {
        Some(self.0.as_str().into())
    }
}

/// The backends of access control that `access_drivers` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessDriver {
    /// Allows everything.
    None,
    /// Asks polkit about each permission.
    Polkit,
}

impl Setting for Vec<AccessDriver> {
    const KIND: &'static str = "list of strings";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        Vec::<String>::read(value)?
            .iter()
            .map(|name| match name.as_str() {
                "none" => Ok(AccessDriver::None),
                "polkit" => Ok(AccessDriver::Polkit),
                _ => Err(Wrong::meaning("expected \"none\" or \"polkit\" in the list")),
            })
            .collect()
    }

    fn show(&self) -> Option<ConfValue> {
        let name = |driver: &AccessDriver| match driver {
            AccessDriver::None => "none",
            AccessDriver::Polkit => "polkit",
        };
        Some(ConfValue::List(
            self.iter().map(|driver| name(driver).into()).collect(),
        ))
    }
}

impl Setting for Vec<Mechanism> {
    const KIND: &'static str = "list of strings";

    fn read(value: &ConfValue) -> Result<Self, Wrong> {
        Vec::<String>::read(value)?
            .iter()
            .map(|name| {
                Mechanism::from_name(name).ok_or_else(|| {
                    let names: Vec<_> = Mechanism::ALL.iter().map(|known| known.name()).collect();
                    Wrong::meaning(format!("'{name}' is none of the mechanisms {}", names.join(", ")))
                })
            })
            .collect()
    }

    fn show(&self) -> Option<ConfValue> {
        Some(ConfValue::List(
            self.iter().map(|mechanism| mechanism.name().into()).collect(),
        ))
    }
}
