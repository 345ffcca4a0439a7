//! What users say to one hypervisor past the model, in a namespace of that hypervisor: Xen, LXC, bhyve, VMware.
//! (QEMU's, which is larger, is [`super::qemu_ns`].) Each is read for guests of its hypervisor alone.

use virt_util::xml::{At, Element, Reader, Writer, Xml, XmlElement, error_at, read};
use virt_util::{ErrorCode, ErrorDomain, Result};

/// URI of Xen's namespace.
pub const XEN_NAMESPACE: &str = "http://libvirt.org/schemas/domain/xen/1.0";

/// URI of LXC's namespace.
pub const LXC_NAMESPACE: &str = "http://libvirt.org/schemas/domain/lxc/1.0";

/// URI of bhyve's namespace.
pub const BHYVE_NAMESPACE: &str = "http://libvirt.org/schemas/domain/bhyve/1.0";

/// URI of VMware's namespace.
pub const VMWARE_NAMESPACE: &str = "http://libvirt.org/schemas/domain/vmware/1.0";

/// Arguments that are added to those of Xen's device model.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "xen:commandline", ns(xen = XEN_NAMESPACE), absent = is_void)]
pub struct XenCommandline {
    /// The arguments.
    #[xml("xen:arg")]
    pub args: Vec<Argument>,
}

/// Arguments that are added to bhyve's.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
#[xml(name = "bhyve:commandline", ns(bhyve = BHYVE_NAMESPACE), absent = is_void)]
pub struct BhyveCommandline {
    /// The arguments.
    #[xml("bhyve:arg")]
    pub args: Vec<Argument>,
}

/// Without arguments there is nothing.
fn is_void(element: Element<'_>) -> bool {
    !element.children().any(|child| child.name() == "arg")
}

/// An argument.
#[derive(Xml, Clone, Debug, Default, PartialEq, Eq)]
pub struct Argument {
    /// The argument.
    #[xml("@value", code = ErrorCode::INTERNAL_ERROR)]
    pub value: String,
}

xml_enum! {
    /// A kind of namespace that a container shares.
    pub enum LxcNamespaceKind { Net = "sharenet", Ipc = "shareipc", Uts = "shareuts" }
}

xml_enum! {
    /// Whose namespace a container shares.
    pub enum LxcNamespaceSource { None = "none", Name = "name", Pid = "pid", Netns = "netns" }
}

/// Namespaces that a container shares with another container, a process, or by name; at most one of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LxcNamespaces {
    /// In the order of their kinds.
    pub shared: Vec<SharedNamespace>,
}

/// A namespace that a container shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedNamespace {
    /// The kind.
    pub kind: LxcNamespaceKind,
    /// What [`SharedNamespace::value`] names.
    pub source: LxcNamespaceSource,
    /// A container, the id of a process, or a network namespace.
    pub value: String,
}

fn shared_shape() -> &'static virt_util::xml::ElementSchema {
    virt_util::xml::describe!("SharedNamespace", "", "A namespace that a container shares." => {
        /// What the value names.
        "@type" => source: value(LxcNamespaceSource),
        /// A container, the id of a process, or a network namespace.
        "@value" => value: value(String),
    })
}

impl XmlElement for LxcNamespaces {
    const NAME: &'static str = "lxc:namespace";

    fn read(element: Element<'_>, cx: &mut Reader) -> Result<Self> {
        let mut shared: Vec<SharedNamespace> = Vec::new();
        for child in element.children() {
            let Some(kind) = LxcNamespaceKind::from_word(child.name()) else {
                let what = format!(
                    "namespace '{}': expected 'sharenet', 'shareipc' or 'shareuts'",
                    child.name()
                );
                cx.fail(virt_util::VirtError::new(
                    virt_util::ErrorCode::CONFIG_UNSUPPORTED,
                    error_at(child, At::Text, what).detail(),
                ))?;
                continue;
            };
            let internal = (ErrorCode::INTERNAL_ERROR, Some(ErrorDomain::LXC));
            let namespace = read::coded(child, cx, internal, |cx| {
                let source = read::attr(child, cx, "type", virt_util::xml::XmlValue::parse_value)?;
                let value = child.attr("value").map(|value| value.into_owned());
                Ok(SharedNamespace {
                    kind,
                    source: read::required(child, At::Attribute("type"), source)?,
                    value: read::required(child, At::Attribute("value"), value)?,
                })
            })?;
            shared.retain(|other| other.kind != kind);
            shared.push(namespace);
        }
        shared.sort_by_key(|namespace| namespace.kind);
        Ok(Self { shared })
    }

    fn counts_as_absent(element: Element<'_>) -> bool {
        element.children().next().is_none()
    }

    fn write_attributes(&self, _w: &mut Writer) {}

    fn write_content(&self, w: &mut Writer) {
        for namespace in &self.shared {
            let name = match namespace.kind {
                LxcNamespaceKind::Net => "lxc:sharenet",
                LxcNamespaceKind::Ipc => "lxc:shareipc",
                LxcNamespaceKind::Uts => "lxc:shareuts",
            };
            w.start(name);
            w.attribute("type", namespace.source.as_str());
            w.attribute("value", &namespace.value);
            w.end(name);
        }
    }

    fn schema() -> &'static virt_util::xml::ElementSchema {
        virt_util::xml::describe!("LxcNamespaces", "lxc:namespace", "Namespaces that a container shares." => {
            /// Where its network comes from.
            "lxc:sharenet" => network: shape(shared_shape),
            /// Where its means of communication between processes come from.
            "lxc:shareipc" => ipc: shape(shared_shape),
            /// Where its host name comes from.
            "lxc:shareuts" => uts: shape(shared_shape),
        })
    }
}
