//! Networks, interfaces of the host, network filters, leases.

use virt_util::xml::{self, Doc, DocOptions, Reader, XmlFlags};

use super::comes_to_rest;

/// Networks, for now and for the next start, and the status files around them.
pub fn fuzz_network_xml(data: &[u8]) {
    use crate::network::{Network, NetworkStatus};
    if let Ok(doc) = Doc::parse_bytes(data, &DocOptions::default()) {
        let _ = crate::schema::check(&doc);
        let _ = xml::from_doc::<Network>(&doc, &mut Reader::collecting(XmlFlags::empty()));
    }
    comes_to_rest(data, |text| {
        Network::parse(text, XmlFlags::empty(), "fuzz").map(|network| network.format(XmlFlags::empty()))
    });
    comes_to_rest(data, |text| {
        Network::parse(text, XmlFlags::INACTIVE, "fuzz").map(|network| network.format(XmlFlags::INACTIVE))
    });
    comes_to_rest(data, |text| {
        NetworkStatus::parse(text, "fuzz").map(|status| status.format())
    });
}

/// Ports of networks.
pub fn fuzz_network_port_xml(data: &[u8]) {
    comes_to_rest(data, |text| {
        crate::network::NetworkPort::parse(text, "fuzz").map(|port| port.format())
    });
}

/// Changes of a network's entries: each command with each section. What comes of one is still a network.
pub fn fuzz_network_update(data: &[u8]) {
    use crate::network::{Command, Network, Section, Update};
    let Ok(xml) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(network) = Network::parse(UPDATED_NETWORK, XmlFlags::empty(), "fuzz") else {
        unreachable!("the network of this test is one");
    };
    for command in Command::ALL {
        for section in Section::ALL {
            for parent in [-1, 0, 7] {
                let update = Update {
                    command: Some(*command),
                    section: Some(*section),
                    parent,
                    xml,
                };
                if let Ok(changed) = network.updated(&update, XmlFlags::empty()) {
                    comes_to_rest(changed.format(XmlFlags::empty()).as_bytes(), |text| {
                        Network::parse(text, XmlFlags::empty(), "fuzz")
                            .map(|network| network.format(XmlFlags::empty()))
                    });
                }
            }
        }
    }
}

/// A network with one of each entry that can be changed.
const UPDATED_NETWORK: &str = "<network><name>n</name><uuid>81ff0d90-c91e-6742-64da-4a736edb9a8b</uuid>\
    <forward mode='vepa'><interface dev='eth0'/></forward><dns><txt name='a' value='b'/><srv service='s' protocol='tcp'/>\
    <host ip='10.0.0.1'><hostname>h</hostname></host></dns><ip address='10.0.0.1' prefix='24'><dhcp>\
    <range start='10.0.0.2' end='10.0.0.9'/><host mac='52:54:00:00:00:01' name='a' ip='10.0.0.3'/></dhcp></ip>\
    <portgroup name='p' default='yes'/></network>";

/// Interfaces of the host.
pub fn fuzz_interface_xml(data: &[u8]) {
    comes_to_rest(data, |text| {
        crate::interface::HostInterface::parse(text, "fuzz").map(|interface| interface.format())
    });
}

/// Network filters.
pub fn fuzz_nwfilter_xml(data: &[u8]) {
    comes_to_rest(data, |text| {
        crate::nwfilter::Filter::parse(text, "fuzz").map(|filter| filter.format())
    });
}

/// Bindings of network filters, and their status files.
pub fn fuzz_nwfilter_binding_xml(data: &[u8]) {
    use crate::nwfilter_binding::{FilterBinding, FilterBindingStatus};
    comes_to_rest(data, |text| {
        FilterBinding::parse(text, "fuzz").map(|binding| binding.format())
    });
    comes_to_rest(data, |text| {
        FilterBindingStatus::parse(text, "fuzz").map(|status| status.format())
    });
}

/// Leases and MAC maps, and what the name service makes of them.
pub fn fuzz_leases(data: &[u8]) {
    use crate::leases::{self, Family, NameFile, NameOf, addresses_of};
    use crate::mac_map::MacMap;
    comes_to_rest(data, |text| {
        leases::parse(text).map(|leases| leases::format(&leases))
    });
    comes_to_rest(data, |text| MacMap::parse(text).map(|map| map.format()));
    let Ok(content) = std::str::from_utf8(data) else {
        return;
    };
    let files = ["a.status", "a.macs"].map(|name| NameFile { name, content });
    for name_of in [NameOf::Host, NameOf::Guest] {
        let _ = addresses_of("fedora", name_of, Family::Unspecified, &files, 1);
    }
}
