//! What users say to QEMU past the model: the namespace `http://libvirt.org/schemas/domain/qemu/1.0`.

use virt_util::xml::{At, Element, Reader, Xml, error_at, error_with, missing, recoded};
use virt_util::{ErrorCode, ErrorDomain, Result};

/// URI of the namespace.
pub const QEMU_NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// Arguments and environment added to QEMU's.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "qemu:commandline", ns(qemu = QEMU_NAMESPACE), absent = QemuCommandline::is_void)]
pub struct QemuCommandline {
    /// Arguments.
    #[xml("qemu:arg")]
    pub args: Vec<QemuArg>,
    /// Environment.
    #[xml("qemu:env")]
    pub env: Vec<QemuEnv>,
}

/// An argument.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct QemuArg {
    /// The argument.
    #[xml("@value", code = ErrorCode::INTERNAL_ERROR, reported_by = ErrorDomain::QEMU)]
    pub value: String,
}

/// A variable of the environment.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = QemuEnv::after_read)]
pub struct QemuEnv {
    /// Which variable is set.
    #[xml("@name", code = ErrorCode::INTERNAL_ERROR, reported_by = ErrorDomain::QEMU)]
    pub name: String,
    /// What the variable is set to; empty if nothing is said.
    #[xml("@value")]
    pub value: Option<String>,
}

/// Capabilities that QEMU is taken to have or not to have.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "qemu:capabilities", ns(qemu = QEMU_NAMESPACE), absent = QemuCapabilitiesOverride::is_void)]
pub struct QemuCapabilitiesOverride {
    /// Taken to have.
    #[xml("qemu:add")]
    pub add: Vec<QemuCapability>,
    /// Taken not to have.
    #[xml("qemu:del")]
    pub del: Vec<QemuCapability>,
}

/// A capability.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct QemuCapability {
    /// Its name.
    #[xml("@capability", code = ErrorCode::INTERNAL_ERROR, reported_by = ErrorDomain::QEMU)]
    pub capability: String,
}

/// Properties of devices that are set past the model.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "qemu:override", ns(qemu = QEMU_NAMESPACE), absent = QemuOverride::is_void)]
pub struct QemuOverride {
    /// Devices, by alias, whose properties are set.
    #[xml("qemu:device")]
    pub devices: Vec<QemuDeviceOverride>,
}

/// Properties of a device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(ns(qemu = QEMU_NAMESPACE))]
pub struct QemuDeviceOverride {
    /// Alias of the device.
    #[xml("@alias", own, reported_by = ErrorDomain::QEMU)]
    pub alias: String,
    /// The guest's side.
    #[xml("qemu:frontend", omit_empty)]
    pub frontend: Option<QemuFrontend>,
}

/// Properties of the guest's side of a device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(ns(qemu = QEMU_NAMESPACE))]
pub struct QemuFrontend {
    /// What is set on the device, in this order.
    #[xml("qemu:property")]
    pub properties: Vec<QemuProperty>,
}

/// A property of a device.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(check = QemuProperty::after_read)]
pub struct QemuProperty {
    /// Which property of the device is set.
    #[xml("@name", own, reported_by = ErrorDomain::QEMU)]
    pub name: String,
    /// Type of the value.
    #[xml("@type")]
    pub kind: QemuPropertyType,
    /// What it is set to; absent where the property is removed.
    #[xml("@value")]
    pub value: Option<String>,
}

xml_enum! {
    /// Type of a property's value.
    pub enum QemuPropertyType {
        String = "string", Signed = "signed", Unsigned = "unsigned", Bool = "bool", Remove = "remove",
    }
}

/// What QEMU does when something deprecated is used.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(absent = QemuDeprecation::is_void)]
pub struct QemuDeprecation {
    /// Behaviour: `omit`, `reject`, `crash`.
    #[xml("@behavior")]
    pub behavior: String,
}

/// Has the element no child of these names in QEMU's namespace?
fn has_none(element: Element<'_>, names: &[&str]) -> bool {
    !element
        .children()
        .any(|child| names.iter().any(|name| child.is_in(QEMU_NAMESPACE, name)))
}

impl QemuCommandline {
    fn is_void(element: Element<'_>) -> bool {
        has_none(element, &["arg", "env"])
    }
}

impl QemuEnv {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        let starts = self
            .name
            .starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let rest = self
            .name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if starts && rest {
            return Ok(());
        }
        let what = format_args!(
            "'{}' is no name of a variable: letters, digits and '_' expected, no digit first",
            self.name
        );
        let error = error_with(ErrorCode::INTERNAL_ERROR, element, At::Attribute("name"), what);
        cx.fail(error.in_domain(ErrorDomain::QEMU))
    }
}

impl QemuCapabilitiesOverride {
    fn is_void(element: Element<'_>) -> bool {
        has_none(element, &["add", "del"])
    }
}

impl QemuOverride {
    fn is_void(element: Element<'_>) -> bool {
        has_none(element, &["device"])
    }
}

impl QemuProperty {
    fn after_read(&mut self, element: Element<'_>, cx: &mut Reader) -> Result<()> {
        use QemuPropertyType as T;
        let wrong = match (self.kind, self.value.as_deref()) {
            _ if self.name == "id" => error_at(element, At::Attribute("name"), "'id' is not overridden"),
            (T::Remove, None) | (T::String, Some(_)) => return Ok(()),
            (T::Remove, Some(_)) => {
                let what = "a property that is removed has no 'value'";
                error_at(element, At::Attribute("value"), what)
            }
            (_, None) => recoded(
                missing(element, At::Attribute("value")),
                element,
                ErrorCode::XML_ERROR,
            ),
            (T::Signed, Some(text)) if virt_util::xml::parse_integer::<i64>(text, 10).is_ok() => {
                return Ok(());
            }
            (T::Unsigned, Some(text)) if virt_util::xml::parse_integer::<u64>(text, 10).is_ok() => {
                return Ok(());
            }
            (T::Bool, Some("true" | "false")) => return Ok(()),
            (kind, Some(text)) => {
                let what = format_args!("invalid value '{text}' of a property of type '{kind}'");
                error_at(element, At::Attribute("value"), what)
            }
        };
        cx.fail(wrong.in_domain(ErrorDomain::QEMU))
    }
}

impl QemuDeprecation {
    fn is_void(element: Element<'_>) -> bool {
        element
            .attr("behavior")
            .is_none_or(|behavior| behavior.is_empty())
    }
}
