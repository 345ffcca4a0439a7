use super::*;

use proptest::prelude::*;
use virt_util::ErrorCode;

const RICH: &str = "<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0' ipv6='yes' trustGuestRxFilters='no'>
  <name>rich</name>
  <uuid>81ff0d90-c91e-6742-64da-4a736edb9a8b</uuid>
  <title>All of it</title>
  <description>text</description>
  <metadata>
    <a:b xmlns:a='http://a'>x</a:b>
  </metadata>
  <forward dev='eth0' mode='nat'>
    <nat ipv6='yes'>
      <address start='1.2.3.4' end='1.2.3.10'/>
      <port start='500' end='1000'/>
    </nat>
    <interface dev='eth0'/>
  </forward>
  <bridge name='virbr0' zone='z' stp='off' delay='4' macTableManager='libvirt'/>
  <mtu size='9000'/>
  <mac address='52:54:00:00:00:01'/>
  <domain name='example.com' localOnly='yes' register='yes'/>
  <dns enable='yes' forwardPlainNames='no'>
    <forwarder domain='d' addr='8.8.8.8'/>
    <txt name='t' value='v'/>
    <srv service='s' protocol='tcp' domain='d' target='x' port='1' priority='2' weight='3'/>
    <host ip='192.168.122.2'>
      <hostname>a</hostname>
      <hostname>b</hostname>
    </host>
  </dns>
  <vlan trunk='yes'>
    <tag id='1'/>
    <tag id='2' nativeMode='untagged'/>
  </vlan>
  <bandwidth>
    <inbound average='1000' peak='5000' burst='1024'/>
    <outbound average='128'/>
  </bandwidth>
  <port isolated='yes'/>
  <ip address='192.168.122.1' netmask='255.255.255.0' localPtr='yes'>
    <tftp root='/srv'/>
    <dhcp>
      <range start='192.168.122.100' end='192.168.122.254'>
        <lease expiry='1' unit='hours'/>
      </range>
      <host mac='52:54:00:00:00:02' name='a' ip='192.168.122.5'>
        <lease expiry='0'/>
      </host>
      <bootp file='pxe' server='192.168.122.1'/>
    </dhcp>
  </ip>
  <ip family='ipv6' address='2001:db8:ca2:2::1' prefix='64'>
    <dhcp>
      <host id='0:1:0:1:18:aa:62:fe:0:16:3e:44:55:66' name='p' ip='2001:db8:ca2:2::3'/>
    </dhcp>
  </ip>
  <route address='10.0.0.0' prefix='8' gateway='192.168.122.7' metric='2'/>
  <virtualport type='openvswitch'>
    <parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f' profileid='p'/>
  </virtualport>
  <portgroup name='g' default='yes' trustGuestRxFilters='yes'>
    <vlan>
      <tag id='5'/>
    </vlan>
    <bandwidth>
      <inbound average='1'/>
    </bandwidth>
  </portgroup>
  <dnsmasq:options>
    <dnsmasq:option value='cname=a,b'/>
  </dnsmasq:options>
</network>
";

fn parse(text: &str) -> Result<Network> {
    Network::parse(text, XmlFlags::empty(), "test")
}

#[test]
fn addresses_that_are_none_have_libvirts_codes() {
    let network = |dhcp: &str| {
        let source = format!(
            "<network><name>n</name><ip address='10.0.0.1' prefix='24'><dhcp>{dhcp}</dhcp></ip></network>"
        );
        Network::parse(&source, XmlFlags::empty(), "n").map_err(|error| error.code())
    };
    let end = "<range start='10.0.0.2' end='none'/>";
    assert_eq!(network(end).unwrap_err(), ErrorCode::SYSTEM_ERROR);
    assert_eq!(
        network("<range start='10.0.0.2'/>").unwrap_err(),
        ErrorCode::XML_ERROR
    );
    let server = "<range start='10.0.0.2' end='10.0.0.3'/><bootp file='a' server='none'/>";
    assert_eq!(network(server).unwrap_err(), ErrorCode::SYSTEM_ERROR);
    let port = |uuid: &str, mac: &str| {
        let source = format!(
            "<networkport><uuid>{uuid}</uuid><owner><name>a</name><uuid>{uuid}</uuid></owner><mac address='{mac}'/></networkport>"
        );
        NetworkPort::parse(&source, "p").map_err(|error| error.code())
    };
    let uuid = "d54df46f-1ab5-4a22-8618-4560ef5fac2c";
    assert!(port(uuid, "52:54:00:7b:35:93").is_ok());
    for (uuid, mac) in [(uuid, "none"), ("none", "52:54:00:7b:35:93")] {
        assert_eq!(port(uuid, mac).unwrap_err(), ErrorCode::INTERNAL_ERROR);
    }
}

#[test]
fn everything_comes_back() {
    // libxml2 writes kept content with double quotes.
    let text = RICH.replace("xmlns:a='http://a'", "xmlns:a=\"http://a\"");
    let network = parse(&text).unwrap();
    assert_eq!(network.format(XmlFlags::empty()), text);
    assert_eq!(parse(&network.format(XmlFlags::empty())).unwrap(), network);
    let doc = Doc::parse(&text).unwrap();
    assert_eq!(crate::schema::check(&doc), Ok(()));
}

fn small(inside: &str) -> String {
    format!("<network><name>n</name>{inside}</network>")
}

/// What is refused, with libvirt's codes.
#[test]
fn contradictions_have_libvirts_codes() {
    use ErrorCode as C;
    let ip = "<ip address='10.0.0.1' prefix='24'/>";
    for (inside, code) in [
        ("<title>a\nb</title>".to_owned(), C::XML_ERROR),
        ("<uuid>x</uuid>".to_owned(), C::INTERNAL_ERROR),
        ("<forward mode='teleport'/>".to_owned(), C::CONFIG_UNSUPPORTED),
        ("<forward/>".to_owned(), C::XML_ERROR),
        (format!("<forward mode='route'><nat/></forward>{ip}"), C::XML_ERROR),
        (
            format!("<forward mode='nat'><nat><port start='9' end='1'/></nat></forward>{ip}"),
            C::XML_DETAIL,
        ),
        (
            format!("<forward mode='nat'><nat><address start='1.2.3.9' end='1.2.3.1'/></nat></forward>{ip}"),
            C::INTERNAL_ERROR,
        ),
        (
            format!("<forward><interface dev='a'/><interface dev='b'/></forward>{ip}"),
            C::XML_ERROR,
        ),
        (
            "<forward mode='vepa' dev='a'><interface dev='b'/></forward>".to_owned(),
            C::XML_ERROR,
        ),
        (
            "<forward mode='hostdev'><address type='usb'/></forward>".to_owned(),
            C::CONFIG_UNSUPPORTED,
        ),
        (
            "<forward mode='hostdev'><address type='netdev'/></forward>".to_owned(),
            C::XML_ERROR,
        ),
        (
            "<forward mode='bridge' dev='a'/><bridge name='b'/>".to_owned(),
            C::XML_ERROR,
        ),
        (
            "<forward mode='bridge'/><bridge name='b' stp='on'/>".to_owned(),
            C::XML_ERROR,
        ),
        ("<forward mode='vepa'/><mtu size='9'/>".to_owned(), C::XML_ERROR),
        (
            "<domain name='d' register='yes'/>".to_owned(),
            C::CONFIG_UNSUPPORTED,
        ),
        ("<mac address='01:00:00:00:00:01'/>".to_owned(), C::XML_ERROR),
        ("<virtualport/>".to_owned(), C::XML_ERROR),
        ("<virtualport type='x'/>".to_owned(), C::CONFIG_UNSUPPORTED),
        (
            "<bandwidth><inbound average='1' floor='1'/></bandwidth>".to_owned(),
            C::CONFIG_UNSUPPORTED,
        ),
        (
            "<bandwidth><inbound peak='1'/></bandwidth>".to_owned(),
            C::XML_DETAIL,
        ),
        (
            "<bandwidth classID='2'><inbound average='1'/></bandwidth>".to_owned(),
            C::XML_DETAIL,
        ),
        (
            "<dns enable='no'><forwarder addr='1.1.1.1'/></dns>".to_owned(),
            C::XML_ERROR,
        ),
        ("<dns><forwarder/></dns>".to_owned(), C::XML_ERROR),
        ("<dns><txt name='a b' value='x'/></dns>".to_owned(), C::XML_DETAIL),
        ("<dns><txt name='a'/></dns>".to_owned(), C::XML_DETAIL),
        (
            "<dns><srv service='a' protocol='tcp' port='7'/></dns>".to_owned(),
            C::XML_DETAIL,
        ),
        ("<dns><host ip='1.1.1.1'/></dns>".to_owned(), C::XML_DETAIL),
        (
            "<ip address='::1' prefix='64'/>".to_owned(),
            C::CONFIG_UNSUPPORTED,
        ),
        (
            "<ip address='10.0.0.1' prefix='33'/>".to_owned(),
            C::CONFIG_UNSUPPORTED,
        ),
        (
            "<ip address='10.0.0.1' prefix='24' netmask='255.0.0.0'/>".to_owned(),
            C::CONFIG_UNSUPPORTED,
        ),
        (
            "<ip family='ipv6' address='::1'><tftp root='/'/></ip>".to_owned(),
            C::CONFIG_UNSUPPORTED,
        ),
        (
            "<ip address='10.0.0.1'><dhcp><range start='11.0.0.1' end='11.0.0.2'/></dhcp></ip>".to_owned(),
            C::INTERNAL_ERROR,
        ),
        (
            "<ip address='10.0.0.1'><dhcp><host ip='10.0.0.2'/></dhcp></ip>".to_owned(),
            C::XML_ERROR,
        ),
        (
            "<ip address='10.0.0.1'><dhcp><host name='-' ip='10.0.0.2'/></dhcp></ip>".to_owned(),
            C::XML_ERROR,
        ),
        (
            "<ip address='10.0.0.1'><dhcp><host name='a' ip='10.0.0.2'><lease expiry='1'/></host></dhcp></ip>"
                .to_owned(),
            C::CONFIG_UNSUPPORTED,
        ),
        (
            format!("{ip}<route address='10.1.0.0' prefix='16' gateway='10.9.9.9'/>"),
            C::CONFIG_UNSUPPORTED,
        ),
        (
            format!("{ip}<route address='10.1.0.1' prefix='16' gateway='10.0.0.9'/>"),
            C::XML_ERROR,
        ),
    ] {
        let error = parse(&small(&inside)).expect_err(&inside);
        assert_eq!(error.code(), code, "{inside}: {error}");
    }
    assert_eq!(
        parse("<network><name/></network>").unwrap_err().code(),
        C::NO_NAME
    );
    assert_eq!(
        parse("<network><name>a/b</name></network>").unwrap_err().code(),
        C::XML_DETAIL
    );
}

#[test]
fn what_says_nothing_is_left_out() {
    let canonical = "<network>\n  <name>n</name>\n  <bridge stp='on' delay='0'/>\n</network>\n";
    for inside in [
        "",
        "<forward mode='none'/>",
        "<dns/>",
        "<domain localOnly='yes'/>",
        "<bandwidth/>",
        "<metadata/>",
        "<metadata>text</metadata>",
        "<bridge/>",
        "<mac address=''/>",
    ] {
        assert_eq!(
            parse(&small(inside)).unwrap().format(XmlFlags::empty()),
            canonical,
            "{inside}"
        );
    }
    let lease =
        small("<ip address='10.0.0.1'><dhcp><host name='a' ip='10.0.0.2'><lease/></host></dhcp></ip>");
    assert!(!parse(&lease).unwrap().format(XmlFlags::empty()).contains("lease"));
}

#[test]
fn live_and_inactive_differ_in_connections_and_virtual_functions() {
    let mut network = parse(&small("<forward mode='passthrough'><pf dev='eth0'/></forward>")).unwrap();
    network.connections = 2;
    if let Some(forward) = &mut network.forward {
        forward.interfaces.push(forward::ForwardInterface {
            device: "eth1".to_owned(),
            connections: 1,
        });
    }
    let live = network.format(XmlFlags::empty());
    assert!(live.starts_with("<network connections='2'>"), "{live}");
    assert!(
        live.contains("    <pf dev='eth0'/>\n    <interface dev='eth1' connections='1'/>\n"),
        "{live}"
    );
    let inactive = network.format(XmlFlags::INACTIVE);
    assert!(
        !inactive.contains("connections") && !inactive.contains("<interface"),
        "{inactive}"
    );
}

#[test]
fn status_files_come_back() {
    let text = "<networkstatus>\n  <class_id bitmap='0-3'/>\n  <floor sum='1000'/>\n  <taint flag='hook-script'/>\n  \
                <network>\n    <name>n</name>\n    <uuid>81ff0d90-c91e-6742-64da-4a736edb9a8b</uuid>\n    \
                <bridge name='virbr0' stp='on' delay='0'/>\n  </network>\n  <firewall name='fwRemoval'>\n    \
                <action>\n      <args>\n        <item>nft</item>\n      </args>\n    </action>\n  </firewall>\n\
                </networkstatus>\n";
    let status = NetworkStatus::parse(text, "test").unwrap();
    assert_eq!(status.format(), text);
    assert_eq!(status.floor_sum, 1000);
    // The form of old versions.
    let bare = NetworkStatus::parse(&small(""), "test").unwrap();
    assert!(
        bare.format()
            .contains("<class_id bitmap='0-2'/>\n  <floor sum='0'/>")
    );
    for (text, code) in [
        ("<networkstatus/>", ErrorCode::INTERNAL_ERROR),
        (
            "<networkstatus><taint flag='x'/><network><name>n</name></network></networkstatus>",
            ErrorCode::CONFIG_UNSUPPORTED,
        ),
    ] {
        assert_eq!(NetworkStatus::parse(text, "test").unwrap_err().code(), code);
    }
}

fn change(network: &Network, command: Command, section: Section, xml: &str) -> Result<Network> {
    network.updated(
        &Update {
            command: Some(command),
            section: Some(section),
            parent: -1,
            xml,
        },
        XmlFlags::empty(),
    )
}

#[test]
fn updates_have_libvirts_codes() {
    use Command as A;
    use ErrorCode as C;
    use Section as S;
    let network = parse(RICH).unwrap();
    for (command, section, xml, code) in [
        (A::Modify, S::Bridge, "<bridge/>", C::OPERATION_UNSUPPORTED),
        (A::AddLast, S::Ip, "<ip/>", C::OPERATION_UNSUPPORTED),
        (A::AddLast, S::IpDhcpHost, "<range/>", C::XML_ERROR),
        (A::Modify, S::IpDhcpRange, "<range/>", C::OPERATION_UNSUPPORTED),
        (
            A::Modify,
            S::ForwardInterface,
            "<interface dev='eth0'/>",
            C::OPERATION_UNSUPPORTED,
        ),
        (
            A::AddLast,
            S::ForwardInterface,
            "<interface dev='eth0'/>",
            C::OPERATION_INVALID,
        ),
        // Allowed by itself, but not in the whole.
        (
            A::AddLast,
            S::ForwardInterface,
            "<interface dev='eth1'/>",
            C::XML_ERROR,
        ),
        (
            A::Delete,
            S::IpDhcpHost,
            "<host mac='52:54:00:00:00:09'/>",
            C::OPERATION_INVALID,
        ),
        (
            A::AddLast,
            S::IpDhcpHost,
            "<host name='a' ip='192.168.122.9'/>",
            C::OPERATION_INVALID,
        ),
        (
            A::AddLast,
            S::IpDhcpHost,
            "<host name='z' ip='::9'/>",
            C::OPERATION_INVALID,
        ),
        (A::Modify, S::DnsSrv, "<srv/>", C::OPERATION_UNSUPPORTED),
        (A::AddLast, S::DnsSrv, "<srv service='x'/>", C::XML_DETAIL),
        (A::Delete, S::DnsTxt, "<txt name='zz'/>", C::OPERATION_INVALID),
        (
            A::AddLast,
            S::PortGroup,
            "<portgroup name='h' default='yes'/>",
            C::OPERATION_INVALID,
        ),
        (A::AddLast, S::DnsHost, "<host", C::XML_DETAIL),
    ] {
        let error = change(&network, command, section, xml).expect_err(xml);
        assert_eq!(error.code(), code, "{command} {section} {xml}: {error}");
    }
    assert_eq!(Command::from_number(3), Some(A::AddLast));
    assert_eq!(Section::from_number(9), Some(S::PortGroup));
    // An entry that is wrong in itself is told as such whatever the command is.
    let odd = |section, xml| {
        let update = Update {
            command: Command::from_number(0),
            section: Section::from_number(section),
            parent: -1,
            xml,
        };
        network.updated(&update, XmlFlags::empty()).expect_err(xml).code()
    };
    assert_eq!(odd(13, "<host"), C::XML_DETAIL);
    assert_eq!(odd(13, "<host/>"), C::OPERATION_UNSUPPORTED);
    for (section, name, fine) in [
        (4, "host", "<host mac='52:54:00:00:00:09' ip='192.168.122.9'/>"),
        (5, "range", "<range start='192.168.122.2' end='192.168.122.3'/>"),
        (7, "interface", "<interface dev='eth9'/>"),
        (9, "portgroup", "<portgroup name='z'/>"),
        (10, "host", "<host ip='1.2.3.4'><hostname>z</hostname></host>"),
        (11, "txt", "<txt name='z' value='z'/>"),
        (12, "srv", "<srv service='z' protocol='tcp'/>"),
    ] {
        assert_eq!(odd(section, "<other/>"), C::XML_ERROR, "{name}");
        assert_eq!(odd(section, fine), C::OPERATION_UNSUPPORTED, "{name}");
    }
}

#[test]
fn what_was_added_can_be_taken_away() {
    let network = parse(RICH).unwrap();
    for (section, add, delete) in [
        (
            Section::IpDhcpHost,
            "<host mac='52:54:00:00:00:77' name='new' ip='192.168.122.77'/>",
            "<host name='new'/>",
        ),
        (
            Section::IpDhcpRange,
            "<range start='192.168.122.20' end='192.168.122.30'/>",
            "<range start='192.168.122.20' end='192.168.122.30'/>",
        ),
        (
            Section::PortGroup,
            "<portgroup name='new'/>",
            "<portgroup name='new'/>",
        ),
        (
            Section::DnsHost,
            "<host ip='192.168.122.80'><hostname>n</hostname></host>",
            "<host><hostname>n</hostname></host>",
        ),
        (
            Section::DnsTxt,
            "<txt name='new' value='v'/>",
            "<txt name='new'/>",
        ),
        (
            Section::DnsSrv,
            "<srv service='new' protocol='udp'/>",
            "<srv service='new'/>",
        ),
    ] {
        for command in [Command::AddFirst, Command::AddLast] {
            let more = change(&network, command, section, add).unwrap();
            assert_ne!(more, network);
            assert_eq!(
                change(&more, command, section, add).unwrap_err().code(),
                ErrorCode::OPERATION_INVALID
            );
            let back = change(&more, Command::Delete, section, delete).unwrap();
            assert_eq!(back, network, "{section}");
        }
    }
}

#[test]
fn ports_say_what_is_missing() {
    let port = "<networkport><uuid>81ff0d90-c91e-6742-64da-4a736edb9a8b</uuid><owner><name>g</name>\
                <uuid>81ff0d90-c91e-6742-64da-4a736edb9a8c</uuid></owner><mac address='52:54:00:00:00:01'/>PLUG</networkport>";
    let parse = |plug: &str| NetworkPort::parse(&port.replace("PLUG", plug), "test");
    assert!(parse("").is_ok());
    assert!(parse("<bandwidth classID='3'><inbound average='1' floor='2'/></bandwidth>").is_ok());
    for plug in [
        "<plug type='bridge'/>",
        "<plug type='direct'/>",
        "<plug type='hostdev-pci'/>",
        "<plug type='x'/>",
    ] {
        assert_eq!(parse(plug).unwrap_err().code(), ErrorCode::XML_ERROR, "{plug}");
    }
    assert_eq!(
        NetworkPort::parse("<networkport/>", "test").unwrap_err().code(),
        ErrorCode::INTERNAL_ERROR
    );
    assert_eq!(parse("<plug type='none'/>").unwrap().plug, None);
}

proptest! {
    /// Whatever the texts in it are: what is written is read as the same.
    #[test]
    fn any_text_comes_back(name in "[a-zA-Z0-9 .&<>'\"_-]{1,20}", title in "\\PC{0,30}", service in "[a-z*/+-]{1,9}",
                           host in "[a-z0-9]{1,12}", octet in 2u8..250, prefix in 8u32..30, mtu in 0u32..70000) {
        prop_assume!(name.trim() == name && title.trim() == title);
        let mut network = Network { name, mtu, ..Network::default() };
        network.title = (!title.is_empty()).then_some(title);
        network.bridge.stp = Some(true);
        network.bridge.delay = Some(0);
        network.dns = Some(Dns {
            services: vec![dns::DnsService {
                service: Some(service),
                protocol: Some("tcp".to_owned()),
                ..Default::default()
            }],
            ..Default::default()
        });
        let address = std::net::IpAddr::from([10, 0, 0, octet]);
        network.ips.push(NetworkIp {
            family: None,
            address,
            netmask: None,
            prefix_length: prefix,
            local_ptr: None,
            tftp_root: None,
            dhcp: Some(ip::Dhcp {
                hosts: vec![ip::DhcpHost { name: Some(host), address: Some(address), ..Default::default() }],
                ..Default::default()
            }),
        });
        let text = network.format(XmlFlags::empty());
        prop_assert_eq!(parse(&text).unwrap(), network);
    }
}

#[test]
fn numbers_are_those_of_c() {
    let network = |inside: &str| {
        let source = format!("<network><name>n</name>{inside}</network>");
        Network::parse(&source, XmlFlags::empty(), "n").map(|network| network.format(XmlFlags::empty()))
    };
    // A negative one counts back from the end, and a great one is shown as a negative one.
    let mtu = network("<bridge name='b'/><mtu size='-4294967295'/>").unwrap();
    assert!(mtu.contains("<mtu size='1'/>"), "{mtu}");
    let delay = network("<bridge name='b' delay='18446744073709551615'/>").unwrap();
    assert!(delay.contains("delay='-1'"), "{delay}");
    let port = |manager: &str| {
        network(&format!(
            "<forward mode='bridge'><interface dev='e'/></forward><virtualport type='802.1Qbg'>\
             <parameters managerid='{manager}' typeid='0x1' typeidversion='1'/></virtualport>"
        ))
    };
    assert!(port("-4294967295").unwrap().contains("managerid='1'"));
    assert_eq!(port("256").unwrap_err().code(), ErrorCode::XML_ERROR);
}
