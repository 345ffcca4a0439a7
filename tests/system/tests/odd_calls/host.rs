//! The simulated host that is asked: one of each object, as a file for the test driver.

pub const RUNNING: &str = "runs";
pub const INACTIVE: &str = "rests";
const RUNNING_UUID: [u8; 16] = [0x11; 16];
pub const INACTIVE_UUID: [u8; 16] = [0x22; 16];
const NETWORK_UUID: [u8; 16] = [0x33; 16];
const POOL_UUID: [u8; 16] = [0x44; 16];
const POOL: &str = "pool";
const VOLUME: &str = "volume";
const KEY: &str = "/pool/volume";
const SNAPSHOT: &str = "snap";

/// The document of the host.
pub fn document() -> String {
    let uuid = |bytes: [u8; 16]| virt_util::uuid::Uuid::from_bytes(bytes).to_string();
    let guest = |name: &str, id: [u8; 16], more: &str| {
        format!(
            "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{name}</name>\
             <uuid>{}</uuid><memory>8388608</memory><currentMemory>2097152</currentMemory><vcpu>2</vcpu>\
             <os><type>hvm</type></os><devices><disk type='file' device='disk'><source file='/image'/>\
             <target dev='vda' bus='virtio'/></disk><interface type='network'><mac address='aa:bb:cc:dd:ee:ff'/>\
             <source network='net'/><target dev='net0'/></interface><serial type='pty'/><memballoon model='virtio'/></devices>{more}</domain>",
            uuid(id)
        )
    };
    format!(
        "<node>{}{}<network><name>net</name><uuid>{}</uuid><forward/><bridge name='virbr0'/>\
         <ip address='192.168.122.1' netmask='255.255.255.0'/></network>\
         <interface type='ethernet' name='eth1'><start mode='onboot'/><mac address='aa:bb:cc:dd:ee:ff'/></interface>\
         <pool type='dir'><name>{POOL}</name><uuid>{}</uuid><target><path>/pool</path></target>\
         <volume><name>{VOLUME}</name><key>{KEY}</key><capacity>4096</capacity><target><path>{KEY}</path></target></volume></pool>\
         <device><name>computer</name><capability type='system'><hardware><vendor>v</vendor><version>1</version>\
         <serial>1</serial><uuid>11111111-2222-3333-4444-555555555555</uuid></hardware><firmware><vendor>v</vendor>\
         <version>1</version><release_date>01/22/2007</release_date></firmware></capability></device></node>",
        guest(
            RUNNING,
            RUNNING_UUID,
            &format!(
                "<test:domainsnapshot><name>{SNAPSHOT}</name><state>running</state><creationTime>1</creationTime>\
                 <active>1</active></test:domainsnapshot>"
            )
        ),
        guest(INACTIVE, INACTIVE_UUID, "<test:runstate>5</test:runstate>"),
        uuid(NETWORK_UUID),
        uuid(POOL_UUID),
    )
}

/// Whether a type of the protocol names an object.
pub fn is_object(name: &str) -> bool {
    name.ends_with("Ref")
}

/// What objects the argument at `path` is about: its own type, or the procedure's.
fn subject<'t>(procedure: &'t str, path: &'t str) -> &'t str {
    let owner = path.rsplit('.').nth(1).unwrap_or_default();
    match owner {
        "" => procedure.strip_prefix("connect_").unwrap_or(procedure),
        owner => owner,
    }
}

/// The UUID of the object that is there.
pub fn uuid(procedure: &str, path: &str) -> [u8; 16] {
    match subject(procedure, path) {
        of if of.starts_with("net") => NETWORK_UUID,
        of if of.starts_with("storage") || of.starts_with("pool") => POOL_UUID,
        _ => RUNNING_UUID,
    }
}

/// The text that the argument should be.
pub fn text(procedure: &str, path: &str) -> &'static str {
    let field = path.rsplit('.').next().unwrap_or_default();
    let of = subject(procedure, path);
    match field {
        "mac" => "aa:bb:cc:dd:ee:ff",
        "key" if of.starts_with("vol") || of.starts_with("storage_vol") => KEY,
        "pool" => POOL,
        "name" if of.starts_with("snap") => SNAPSHOT,
        "name" if of.starts_with("domain_snapshot") => SNAPSHOT,
        "name" if of.starts_with("dom") => RUNNING,
        "name" if of.starts_with("net") => "net",
        "name" if of.starts_with("interface") || of.starts_with("iface") => "eth1",
        "name" if of.starts_with("vol") || of.starts_with("storage_vol") => VOLUME,
        "name" if of.starts_with("storage_pool") || of.starts_with("pool") => POOL,
        "name" if of.starts_with("node_device") || of.starts_with("device") => "computer",
        "disk" | "path"
            if procedure.starts_with("domain_block") || procedure.starts_with("domain_get_block") =>
        {
            "vda"
        }
        // Nobody can write there, neither root nor nobody.
        "path" | "to" | "from" | "file" | "disk" => "/proc/none/sample",
        "device" => "net0",
        _ => "sample",
    }
}
