//! What goes beside calls: data of streams, holes in it, and descriptors.

use super::*;

/// A pool of a folder with one volume of `capacity` bytes.
fn volume(
    connection: &Connect,
    folder: &Path,
    capacity: u64,
) -> (StoragePoolRef, virt_api::protocol::remote::StorageVolRef) {
    let remote = connection.remote();
    let xml = format!(
        "<pool type='dir'><name>here</name><target><path>{}</path></target></pool>",
        folder.display()
    );
    let pool = remote
        .storage_pool_create_xml(&xml, 0)
        .expect("the pool starts")
        .pool;
    let xml = format!(
        "<volume><name>v.raw</name><capacity>{capacity}</capacity><allocation>0</allocation></volume>"
    );
    let volume = remote
        .storage_vol_create_xml(&pool, &xml, 0)
        .expect("the volume is made")
        .volume;
    (pool, volume)
}

fn receive_all(stream: &StreamEnd) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 100_000];
    loop {
        match stream.recv(&mut buffer, false).expect("data comes") {
            Transfer::Bytes(0) => return all,
            Transfer::Bytes(count) => all.extend_from_slice(&buffer[..count]),
            other => panic!("{other:?} on a stream that waits"),
        }
    }
}

#[test]
fn volumes_go_up_and_come_down() {
    need!(program "libvirtd", program "qemu-system-x86_64");
    let stock = Stock::plain();
    let connection = open(&stock.uri("qemu:///session"));
    let folder = stock.room().path().join("pool");
    std::fs::create_dir(&folder).unwrap();
    stock.room().give(&folder);
    let size: u64 = 3_000_000;
    let (_, volume) = volume(&connection, &folder, size);
    let remote = connection.remote();
    let data: Vec<u8> = (0..size)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let up = remote
        .storage_vol_upload(&volume, 0, size, 0, StreamMode::Blocking)
        .expect("the upload begins");
    up.send_all(&data).expect("it goes up");
    up.finish().expect("it is there");
    let down = remote
        .storage_vol_download(&volume, 0, 0, 0, StreamMode::Blocking)
        .expect("the download begins");
    assert!(receive_all(&down) == data, "what comes down is what went up");
    down.finish().expect("it is over");
    // Many calls beside a stream that nobody reads.
    let down = remote
        .storage_vol_download(&volume, 0, 0, 0, StreamMode::Blocking)
        .unwrap();
    for _ in 0..50 {
        remote
            .storage_vol_get_info(&volume)
            .expect("calls are answered beside streams");
    }
    assert_eq!(receive_all(&down).len() as u64, size);
    drop(down);
    assert!(
        remote.storage_vol_get_info(&volume).is_ok(),
        "the connection survives an abort"
    );

    // libvirt's daemon writes a volume that is a file where it is told, also beyond the end: the file grows.
    let before = remote
        .storage_vol_get_info(&volume)
        .expect("it is known")
        .capacity;
    assert_eq!(before, size);
    let up = remote
        .storage_vol_upload(&volume, size * 2, 10, 0, StreamMode::Blocking)
        .expect("the upload begins");
    up.send_all(b"0123456789").expect("it goes up");
    up.finish().expect("it is there");
    let after = remote
        .storage_vol_get_info(&volume)
        .expect("it is known")
        .capacity;
    assert_eq!(after, size * 2 + 10);
    let down = remote
        .storage_vol_download(&volume, size * 2 - 2, 0, 0, StreamMode::Blocking)
        .expect("the download begins");
    assert_eq!(receive_all(&down), b"\0\x000123456789");
}

#[test]
fn holes_stay_holes_both_ways() {
    need!(program "libvirtd", program "qemu-system-x86_64");
    let stock = Stock::plain();
    let connection = open(&stock.uri("qemu:///session"));
    let folder = stock.room().path().join("pool");
    std::fs::create_dir(&folder).unwrap();
    stock.room().give(&folder);
    let hole: u64 = 8 << 20;
    let (_, volume) = volume(&connection, &folder, hole + 8192);
    let remote = connection.remote();
    // VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM
    let up = remote
        .storage_vol_upload(&volume, 0, 0, 1, StreamMode::Blocking)
        .expect("the upload begins");
    up.send_all(&[7; 4096]).unwrap();
    up.send_hole(hole).expect("a hole goes up");
    up.send_all(&[9; 4096]).unwrap();
    up.finish().expect("it is there");
    let down = remote
        .storage_vol_download(&volume, 0, 0, 1, StreamMode::Blocking)
        .expect("the download begins");
    let (mut data, mut holes) = (0, 0);
    let mut buffer = vec![0; 65_536];
    loop {
        match down.recv(&mut buffer, true).expect("something comes") {
            Transfer::Bytes(0) => break,
            Transfer::Bytes(count) => data += count as u64,
            Transfer::AtHole => {
                let (is_data, ahead) = down.in_data().unwrap();
                let length = down.recv_hole().unwrap();
                assert_eq!((is_data, ahead), (false, length));
                holes += length;
            }
            Transfer::WouldBlock => panic!("the stream waits"),
        }
    }
    down.finish().unwrap();
    assert_eq!(data + holes, hole + 8192);
    assert!(holes >= hole - 65_536, "{holes} bytes of holes");
    let plain = remote
        .storage_vol_download(&volume, 0, 0, 0, StreamMode::Blocking)
        .unwrap();
    assert_eq!(
        plain.send_hole(5).unwrap_err().code(),
        ErrorCode::OPERATION_INVALID
    );
    drop(plain);
}

#[test]
fn descriptors_go_both_ways() {
    need!(program "libvirtd", program "qemu-system-x86_64");
    let stock = Stock::plain();
    let connection = open(&stock.uri("qemu:///session"));
    let xml = "<domain type='qemu'><name>lasting</name><memory unit='MiB'>32</memory>\
        <os><type arch='x86_64' machine='pc'>hvm</type></os>\
        <devices><graphics type='vnc'><listen type='none'/></graphics>\
        <serial type='pty'/><console type='pty'/><memballoon model='none'/></devices></domain>";
    let domain = connection
        .create_domain(xml, Default::default(), &[])
        .unwrap_or_else(|error| panic!("the guest starts: {error}\n{}", stock.log()));
    let remote = connection.remote();
    let known = remote.domain_lookup_by_name("lasting").unwrap().domain;
    // A descriptor comes with the answer: a session of VNC, in which the server speaks first.
    let fds = remote
        .domain_open_graphics_fd(&known, 0, 1)
        .expect("a descriptor comes");
    assert_eq!(fds.len(), 1);
    let mut session = std::os::unix::net::UnixStream::from(fds.into_iter().next().unwrap());
    let mut greeting = [0; 4];
    std::io::Read::read_exact(&mut session, &mut greeting).unwrap();
    assert_eq!(&greeting, b"RFB ");
    // One goes with the call.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    remote
        .domain_open_graphics(&known, 0, 1, &[theirs.as_fd()])
        .expect("a descriptor goes");
    drop(theirs);
    let mut ours = ours;
    std::io::Read::read_exact(&mut ours, &mut greeting).unwrap();
    assert_eq!(&greeting, b"RFB ");
    // A console is a stream both ways that does not end by itself.
    let console = remote
        .domain_open_console(&known, None, 0, StreamMode::NonBlocking)
        .expect("the console opens");
    assert!(matches!(
        console.recv(&mut [0; 16], false),
        Ok(Transfer::WouldBlock | Transfer::Bytes(_))
    ));
    assert!(matches!(console.send(b"x"), Ok(Transfer::Bytes(1))));
    console.abort().expect("the console closes");
    domain.destroy(Default::default()).unwrap();
}
