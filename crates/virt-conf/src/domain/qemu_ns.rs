//! What users say to QEMU past the model: the namespace `http://libvirt.org/schemas/domain/qemu/1.0`.

use virt_util::xml::Xml;

/// URI of the namespace.
pub const QEMU_NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// Arguments and environment added to QEMU's.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "qemu:commandline", ns(qemu = QEMU_NAMESPACE))]
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
    #[xml("@value")]
    pub value: String,
}

/// A variable of the environment.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct QemuEnv {
    /// Which variable is set.
    #[xml("@name")]
    pub name: String,
    /// What the variable is set to; empty if nothing is said.
    #[xml("@value")]
    pub value: Option<String>,
}

/// Capabilities that QEMU is taken to have or not to have.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "qemu:capabilities", ns(qemu = QEMU_NAMESPACE))]
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
    #[xml("@capability")]
    pub capability: String,
}

/// Properties of devices that are set past the model.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "qemu:override", ns(qemu = QEMU_NAMESPACE))]
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
    #[xml("@alias")]
    pub alias: String,
    /// The guest's side.
    #[xml("qemu:frontend")]
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
pub struct QemuProperty {
    /// Which property of the device is set.
    #[xml("@name")]
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
pub struct QemuDeprecation {
    /// Behaviour: `omit`, `reject`, `crash`.
    #[xml("@behavior")]
    pub behavior: String,
}
