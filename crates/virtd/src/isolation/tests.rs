//! A driver's process and its daemon, both in this one.

use std::sync::atomic::{AtomicBool, Ordering};

use virt_api::call::Identity;
use virt_api::host::ClaimKind;
use virt_api::plugin::SearchPath;
use virt_util::ErrorCode;
use virt_util::audit::{AuditKind, AuditRecord};
use virt_util::typed_param::TypedParams;

use super::parent::Parent;
use super::*;
use crate::host::{AccessCheck, HostConfig};

/// Lets fred do everything with driver "test", and nobody else anything.
struct OnlyFred(AtomicBool);

impl AccessCheck for OnlyFred {
    fn enforced(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&self, who: &Identity, driver: &str, _: &str, _: &str, what: &TypedParams) -> Result<bool> {
        let name = |params: &TypedParams, field| params.get_string(field).ok().flatten().map(str::to_owned);
        Ok(driver == "test"
            && name(&who.0, "user-name").as_deref() == Some("fred")
            && name(what, "domain_name").as_deref() == Some("web"))
    }
}

struct House {
    host: Arc<DaemonHost>,
    access: Arc<OnlyFred>,
    holdings: Arc<Mutex<Holdings>>,
}

impl House {
    fn new() -> Self {
        let config = HostConfig {
            privileged: false,
            drivers: Vec::new(),
            root: None,
            search: SearchPath(Vec::new()),
            proxy: false,
            isolate: None,
            parent: None,
            host_uuid: virt_util::uuid::Uuid::from_u128(7),
            ovs_timeout: Duration::from_secs(5),
        };
        let host = DaemonHost::new(config, None);
        let access = Arc::new(OnlyFred(AtomicBool::new(true)));
        host.set_access(Arc::clone(&access) as Arc<dyn AccessCheck>);
        Self {
            host,
            access,
            holdings: Arc::default(),
        }
    }

    /// A process of driver "test".
    fn process(&self) -> (Arc<Parent>, Arc<Talk>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.holdings.lock().begin();
        let talk = Arc::new(Talk::new(ours));
        let (stopped, _wait) = sync_channel(1);
        let service = Service {
            driver: "test".to_owned(),
            host: Arc::downgrade(&self.host),
            talk: Arc::clone(&talk),
            holdings: Arc::clone(&self.holdings),
            stopped,
            heard: Arc::default(),
        };
        std::thread::spawn(move || service.run());
        let parent = Parent::over(theirs, "test", Path::new("/nowhere"), || {}).unwrap();
        (parent, talk)
    }
}

#[test]
fn claims_are_one_book_for_all_processes() {
    let house = House::new();
    let (one, talk) = house.process();
    assert_eq!(one.host_uuid(), Some(virt_util::uuid::Uuid::from_u128(7)));
    one.claim(ClaimKind::Port, "5900", "QEMU/web").unwrap();
    one.claim(ClaimKind::Port, "5901", "QEMU/mail").unwrap();
    let held = house.host.claims().list(ClaimKind::Port);
    assert_eq!(held.len(), 2);
    assert_eq!(one.claims(ClaimKind::Port).unwrap(), held);
    let taken = house
        .host
        .claims()
        .claim(ClaimKind::Port, "5900", "LXC/box")
        .unwrap_err();
    assert_eq!(taken.code(), ErrorCode::OPERATION_INVALID);
    // The other way round the error is the same one.
    house
        .host
        .claims()
        .claim(ClaimKind::Port, "5902", "LXC/box")
        .unwrap();
    let refused = one.claim(ClaimKind::Port, "5902", "QEMU/web").unwrap_err();
    assert_eq!(
        refused.message(),
        "Requested operation is not valid: '5902' is in use by LXC/box"
    );

    // The process ends; its guests may go on, so what they have stays theirs.
    talk.close();
    drop(one);
    assert_eq!(house.host.claims().list(ClaimKind::Port).len(), 3);
    // The next one finds one of them, and says when it has looked at all.
    let (two, _talk) = house.process();
    two.claim(ClaimKind::Port, "5900", "QEMU/web").unwrap();
    two.ready();
    let held: Vec<_> = house.host.claims().list(ClaimKind::Port);
    let keys: Vec<_> = held.iter().map(|claim| claim.key.as_str()).collect();
    assert_eq!(keys, ["5900", "5902"]);
    two.release(ClaimKind::Port, "5900", "QEMU/web").unwrap();
    assert!(two.release(ClaimKind::Port, "5900", "QEMU/web").is_err());
}

#[test]
fn who_may_do_what_is_decided_by_the_daemon() {
    let house = House::new();
    let (process, talk) = house.process();
    assert!(process.enforced());
    let who = |name: &str| Identity(TypedParams::new().with("user-name", name));
    let what = |name: &str| TypedParams::new().with("domain_name", name);
    let may = |user: &str, domain: &str| {
        process
            .check(&who(user), "another", "start", "domain", &what(domain))
            .unwrap()
    };
    assert!(may("fred", "web"));
    assert!(!may("fred", "mail"));
    assert!(!may("jim", "web"));
    // A reload says whether there is anything to ask.
    house.access.0.store(false, Ordering::Relaxed);
    talk.tell(tell::ENFORCED, &Words::default().number(0).bytes())
        .unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while process.enforced() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
    // Without a daemon nobody may do anything.
    talk.close();
    drop(talk);
    assert!(
        process
            .check(&who("fred"), "test", "start", "domain", &what("web"))
            .is_err()
    );
}

#[test]
fn what_a_process_held_back_ends_with_it() {
    let house = House::new();
    let (process, talk) = house.process();
    process.inhibit(true);
    process.inhibit(true);
    assert_eq!(house.host.inhibitions().count(), 2);
    process.inhibit(false);
    assert_eq!(house.host.inhibitions().count(), 1);
    process
        .audit(&AuditRecord::new(AuditKind::MachineControl, true).text_of("vm", Some("a b")))
        .unwrap();
    talk.close();
    let end = Instant::now() + Duration::from_secs(10);
    while house.host.inhibitions().count() > 0 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(1));
    }
}
