//! The steps against fakes that note what they are asked and fail where the test says.

use super::*;
use parking_lot::Mutex;
use std::collections::HashMap;
use virt_util::xdr::{XdrDecode, XdrEncode};

use crate::call::{CallReply, Caller, OutgoingCall};
use crate::protocol::remote::*;
use crate::protocol::table;

/// Everything that was asked of both ends, in order: `S begin3_params`, `T finish3(1)` …
type Notes = Mutex<Vec<String>>;

struct Fake<'n> {
    side: &'static str,
    features: Vec<i32>,
    notes: &'n Notes,
    /// What fails, by the procedure's name.
    failures: HashMap<&'static str, VirtError>,
    state: i32,
    uri_out: Option<String>,
}

impl<'n> Fake<'n> {
    fn new(side: &'static str, features: &[i32], notes: &'n Notes) -> Self {
        Self {
            side,
            features: features.to_vec(),
            notes,
            failures: HashMap::new(),
            state: 1,
            uri_out: Some("tcp:far:49152".to_owned()),
        }
    }

    fn fails(mut self, at: &'static str, error: VirtError) -> Self {
        self.failures.insert(at, error);
        self
    }

    fn end(&self) -> End<'_> {
        End {
            calls: RemoteClient::new(self),
            read_only: false,
        }
    }
}

fn text(cookie: &[u8]) -> String {
    String::from_utf8_lossy(cookie).into_owned()
}

fn guest() -> DomainRef {
    DomainRef {
        name: "web".to_owned(),
        uuid: virt_util::uuid::parse("00000000-0000-0000-0000-000000000001").unwrap(),
        id: 1,
    }
}

impl Caller for Fake<'_> {
    fn call(&self, call: OutgoingCall<'_>) -> Result<CallReply> {
        let known = table::procedure(call.program, call.procedure).unwrap();
        let name = known.name.strip_prefix("domain_migrate_").unwrap_or(known.name);
        let args = &call.args[..];
        let (note, reply) = match name {
            "connect_supports_feature" => {
                let feature = ConnectSupportsFeatureArgs::from_xdr(args)?.feature;
                let supported = i32::from(self.features.contains(&feature));
                (String::new(), ConnectSupportsFeatureReply { supported }.to_xdr()?)
            }
            "connect_get_uri" => (
                String::new(),
                ConnectGetUriReply {
                    uri: "qemu+ssh://far/system".to_owned(),
                }
                .to_xdr()?,
            ),
            "domain_get_info" => (
                String::new(),
                DomainGetInfoReply {
                    state: u8::try_from(self.state).unwrap(),
                    ..Default::default()
                }
                .to_xdr()?,
            ),
            "domain_get_state" => (
                String::new(),
                DomainGetStateReply {
                    state: self.state,
                    reason: 0,
                }
                .to_xdr()?,
            ),
            "domain_get_xml_desc" => (
                format!("xml {:#x}", DomainGetXmlDescArgs::from_xdr(args)?.flags),
                DomainGetXmlDescReply {
                    xml: "<domain/>".to_owned(),
                }
                .to_xdr()?,
            ),
            "domain_lookup_by_name" => (
                format!("lookup {}", DomainLookupByNameArgs::from_xdr(args)?.name),
                DomainLookupByNameReply { domain: guest() }.to_xdr()?,
            ),
            "begin3" => {
                let args = DomainMigrateBegin3Args::from_xdr(args)?;
                (
                    format!("begin3 {:#x}", args.flags),
                    DomainMigrateBegin3Reply {
                        cookie_out: b"b".to_vec(),
                        xml: "<begun/>".to_owned(),
                    }
                    .to_xdr()?,
                )
            }
            "begin3_params" => {
                let args = DomainMigrateBegin3ParamsArgs::from_xdr(args)?;
                (
                    format!("begin3_params {:#x}", args.flags),
                    DomainMigrateBegin3ParamsReply {
                        cookie_out: b"b".to_vec(),
                        xml: "<begun/>".to_owned(),
                    }
                    .to_xdr()?,
                )
            }
            "prepare3" => {
                let args = DomainMigratePrepare3Args::from_xdr(args)?;
                (
                    format!(
                        "prepare3 {:#x} <{} {}",
                        args.flags,
                        text(&args.cookie_in),
                        args.dom_xml
                    ),
                    DomainMigratePrepare3Reply {
                        cookie_out: b"p".to_vec(),
                        uri_out: self.uri_out.clone(),
                    }
                    .to_xdr()?,
                )
            }
            "prepare3_params" => {
                let args = DomainMigratePrepare3ParamsArgs::from_xdr(args)?;
                let xml = args.params.get_string(param::DEST_XML)?.unwrap_or_default();
                (
                    format!(
                        "prepare3_params {:#x} <{} {xml}",
                        args.flags,
                        text(&args.cookie_in)
                    ),
                    DomainMigratePrepare3ParamsReply {
                        cookie_out: b"p".to_vec(),
                        uri_out: self.uri_out.clone(),
                    }
                    .to_xdr()?,
                )
            }
            "perform3" => {
                let args = DomainMigratePerform3Args::from_xdr(args)?;
                (
                    format!(
                        "perform3 {:#x} <{} {}",
                        args.flags,
                        text(&args.cookie_in),
                        args.dconnuri.or(args.uri).unwrap_or_default()
                    ),
                    DomainMigratePerform3Reply {
                        cookie_out: b"q".to_vec(),
                    }
                    .to_xdr()?,
                )
            }
            "perform3_params" => {
                let args = DomainMigratePerform3ParamsArgs::from_xdr(args)?;
                let uri = args.params.get_string(param::URI)?.unwrap_or_default();
                (
                    format!(
                        "perform3_params {:#x} <{} {}{uri}",
                        args.flags,
                        text(&args.cookie_in),
                        args.dconnuri.unwrap_or_default()
                    ),
                    DomainMigratePerform3ParamsReply {
                        cookie_out: b"q".to_vec(),
                    }
                    .to_xdr()?,
                )
            }
            "finish3" => {
                let args = DomainMigrateFinish3Args::from_xdr(args)?;
                (
                    format!(
                        "finish3 {:#x} <{} {} {}",
                        args.flags,
                        text(&args.cookie_in),
                        args.dname,
                        args.cancelled
                    ),
                    DomainMigrateFinish3Reply {
                        domain: guest(),
                        cookie_out: b"f".to_vec(),
                    }
                    .to_xdr()?,
                )
            }
            "finish3_params" => {
                let args = DomainMigrateFinish3ParamsArgs::from_xdr(args)?;
                let name = args.params.get_string(param::DEST_NAME)?.unwrap_or_default();
                (
                    format!(
                        "finish3_params {:#x} <{} {name} {}",
                        args.flags,
                        text(&args.cookie_in),
                        args.cancelled
                    ),
                    DomainMigrateFinish3ParamsReply {
                        domain: guest(),
                        cookie_out: b"f".to_vec(),
                    }
                    .to_xdr()?,
                )
            }
            "confirm3" => {
                let args = DomainMigrateConfirm3Args::from_xdr(args)?;
                (
                    format!(
                        "confirm3 {:#x} <{} {}",
                        args.flags,
                        text(&args.cookie_in),
                        args.cancelled
                    ),
                    Vec::new(),
                )
            }
            "confirm3_params" => {
                let args = DomainMigrateConfirm3ParamsArgs::from_xdr(args)?;
                (
                    format!(
                        "confirm3_params {:#x} <{} {}",
                        args.flags,
                        text(&args.cookie_in),
                        args.cancelled
                    ),
                    Vec::new(),
                )
            }
            "prepare" => (
                format!("prepare {:#x}", DomainMigratePrepareArgs::from_xdr(args)?.flags),
                DomainMigratePrepareReply {
                    cookie: b"p".to_vec(),
                    uri_out: self.uri_out.clone(),
                }
                .to_xdr()?,
            ),
            "prepare2" => (
                format!("prepare2 {:#x}", DomainMigratePrepare2Args::from_xdr(args)?.flags),
                DomainMigratePrepare2Reply {
                    cookie: b"p".to_vec(),
                    uri_out: self.uri_out.clone(),
                }
                .to_xdr()?,
            ),
            "perform" => {
                let args = DomainMigratePerformArgs::from_xdr(args)?;
                (
                    format!("perform {:#x} <{} {}", args.flags, text(&args.cookie), args.uri),
                    Vec::new(),
                )
            }
            "finish" => (
                format!("finish {:#x}", DomainMigrateFinishArgs::from_xdr(args)?.flags),
                DomainMigrateFinishReply { domain: guest() }.to_xdr()?,
            ),
            "finish2" => {
                let args = DomainMigrateFinish2Args::from_xdr(args)?;
                (
                    format!("finish2 {:#x} {}", args.flags, args.retcode),
                    DomainMigrateFinish2Reply { domain: guest() }.to_xdr()?,
                )
            }
            other => panic!("nobody calls {other}"),
        };
        if !note.is_empty() {
            self.notes.lock().push(format!("{} {note}", self.side));
        }
        match self.failures.get(name) {
            Some(error) => Err(error.clone()),
            None => Ok(CallReply {
                payload: reply,
                ..CallReply::default()
            }),
        }
    }
}

const PROTECTED: [i32; 4] = [
    feature::V3,
    feature::PARAMS,
    feature::CHANGE_PROTECTION,
    feature::PEER_TO_PEER,
];

fn qemu(detail: &str) -> VirtError {
    VirtError::new(ErrorCode::OPERATION_FAILED, detail).in_domain(ErrorDomain::QEMU)
}

fn by_params(source: &Fake<'_>, target: &Fake<'_>, flags: Flags) -> Result<DomainRef> {
    let between = Between {
        source: source.end(),
        target: target.end(),
        domain: guest(),
    };
    between.run_params(&TypedParams::new(), flags)
}

fn plainly(source: &Fake<'_>, target: &Fake<'_>, flags: Flags, plain: Plain<'_>) -> Result<DomainRef> {
    let between = Between {
        source: source.end(),
        target: target.end(),
        domain: guest(),
    };
    between.run_plain("virDomainMigrate", flags, plain, PeerUri::Given)
}

#[test]
fn the_third_form_goes_through_its_five_steps_and_hands_cookies_on() {
    let notes = Notes::default();
    let source = Fake::new("S", &PROTECTED, &notes);
    let target = Fake::new("T", &PROTECTED, &notes);
    by_params(&source, &target, Flags::LIVE | Flags::ABORT_ON_ERROR).unwrap();
    assert_eq!(
        *notes.lock(),
        [
            "S begin3_params 0x1101",
            "T prepare3_params 0x1 <b <begun/>",
            "S perform3_params 0x1101 <p tcp:far:49152",
            "T finish3_params 0x1 <q web 0",
            "S confirm3_params 0x1101 <f 0",
        ]
    );
}

#[test]
fn a_paused_guest_arrives_paused_and_old_ends_get_plain_arguments() {
    let notes = Notes::default();
    let mut source = Fake::new("S", &[feature::V3], &notes);
    source.state = 3;
    let mut target = Fake::new("T", &[feature::V3], &notes);
    target.uri_out = None;
    let plain = Plain {
        uri: Some("tcp:there"),
        name: Some("new"),
        ..Plain::default()
    };
    plainly(&source, &target, Flags::LIVE, plain).unwrap();
    assert_eq!(
        *notes.lock(),
        [
            "S begin3 0x1",
            "T prepare3 0x21 <b <begun/>",
            "S perform3 0x21 <p tcp:there",
            "T finish3 0x21 <q new 0",
            "S confirm3 0x21 <f 0",
        ]
    );
}

#[test]
fn a_prepare_that_failed_is_confirmed_only_where_begin_holds_changes_off() {
    let notes = Notes::default();
    let source = Fake::new("S", &PROTECTED, &notes).fails("confirm3_params", qemu("late"));
    let target = Fake::new("T", &PROTECTED, &notes).fails("prepare3_params", qemu("no room"));
    let error = by_params(&source, &target, Flags::LIVE).unwrap_err();
    assert_eq!(error.detail(), "no room");
    assert_eq!(notes.lock().last().unwrap(), "S confirm3_params 0x101 < 1");

    notes.lock().clear();
    let source = Fake::new("S", &[feature::V3, feature::PARAMS], &notes);
    by_params(&source, &target, Flags::LIVE).unwrap_err();
    assert!(notes.lock().last().unwrap().starts_with("T prepare3_params"));
}

#[test]
fn a_perform_that_failed_is_finished_and_not_confirmed() {
    let notes = Notes::default();
    let source = Fake::new("S", &PROTECTED, &notes).fails("perform3_params", qemu("the line broke"));
    let finish_ok = VirtError::new(ErrorCode::MIGRATE_FINISH_OK, "thrown away").in_domain(ErrorDomain::QEMU);
    let target = Fake::new("T", &PROTECTED, &notes).fails("finish3_params", finish_ok);
    let error = by_params(&source, &target, Flags::LIVE).unwrap_err();
    assert_eq!(error.detail(), "the line broke");
    assert_eq!(notes.lock().last().unwrap(), "T finish3_params 0x1 < web 1");

    // Both ends failed for reasons of their own.
    let target = Fake::new("T", &PROTECTED, &notes).fails("finish3_params", qemu("the memory broke"));
    let error = by_params(&source, &target, Flags::LIVE).unwrap_err();
    assert!(
        error.message().contains("the line broke") && error.message().contains("the memory broke"),
        "{error}"
    );
}

#[test]
fn a_finish_that_failed_lets_the_guest_go_on_at_its_source() {
    let notes = Notes::default();
    let source = Fake::new("S", &PROTECTED, &notes);
    let target = Fake::new("T", &PROTECTED, &notes).fails("finish3_params", qemu("it does not start"));
    let error = by_params(&source, &target, Flags::LIVE).unwrap_err();
    assert_eq!(error.detail(), "it does not start");
    assert_eq!(notes.lock().last().unwrap(), "S confirm3_params 0x101 < 1");
}

#[test]
fn a_destination_that_names_no_uri_is_finished_and_confirmed() {
    let notes = Notes::default();
    let source = Fake::new("S", &PROTECTED, &notes);
    let mut target = Fake::new("T", &PROTECTED, &notes).fails("finish3_params", qemu("cancelled"));
    target.uri_out = None;
    let error = by_params(&source, &target, Flags::LIVE).unwrap_err();
    assert_eq!(
        error.detail(),
        "domainMigratePrepare3 of the destination did not say where to migrate to"
    );
    let notes = notes.lock();
    assert_eq!(notes.get(2).unwrap(), "T finish3_params 0x1 <p web 1");
    assert_eq!(notes.last().unwrap(), "S confirm3_params 0x101 < 1");
}

#[test]
fn offline_nothing_is_performed() {
    let notes = Notes::default();
    let features = [&PROTECTED[..], &[feature::OFFLINE]].concat();
    let source = Fake::new("S", &features, &notes);
    let target = Fake::new("T", &PROTECTED, &notes);
    let error = by_params(&source, &target, Flags::OFFLINE).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ARGUMENT_UNSUPPORTED);
    assert!(
        error.message().contains("the destination does not move"),
        "{error}"
    );
    let target = Fake::new("T", &features, &notes);
    by_params(&source, &target, Flags::OFFLINE).unwrap();
    let steps: Vec<String> = notes
        .lock()
        .iter()
        .map(|note| note[2..].split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        steps,
        [
            "begin3_params",
            "prepare3_params",
            "finish3_params",
            "confirm3_params"
        ]
    );
}

#[test]
fn older_forms_are_used_where_one_end_is_old() {
    let notes = Notes::default();
    let source = Fake::new("S", &[feature::V3, feature::V2, feature::XML_MIGRATABLE], &notes);
    let target = Fake::new("T", &[feature::V2], &notes);
    by_params(&source, &target, Flags::LIVE).unwrap();
    assert_eq!(
        *notes.lock(),
        [
            "S xml 0x8",
            "T prepare2 0x1",
            "S perform 0x1 <p tcp:far:49152",
            "T finish2 0x1 0"
        ]
    );
    notes.lock().clear();
    let failing = Fake::new("S", &[feature::V2], &notes).fails("perform", qemu("no"));
    let error = by_params(&failing, &target, Flags::LIVE).unwrap_err();
    assert_eq!(error.detail(), "no");
    assert_eq!(
        *notes.lock(),
        [
            "S xml 0x5",
            "T prepare2 0x1",
            "S perform 0x1 <p tcp:far:49152",
            "T finish2 0x1 1"
        ]
    );
    notes.lock().clear();
    let (source, target) = (
        Fake::new("S", &[feature::V1], &notes),
        Fake::new("T", &[feature::V1], &notes),
    );
    by_params(&source, &target, Flags::LIVE).unwrap();
    assert_eq!(
        *notes.lock(),
        ["T prepare 0x1", "S perform 0x1 <p tcp:far:49152", "T finish 0x1"]
    );
    let plain = Plain {
        xml: Some("<domain/>"),
        ..Plain::default()
    };
    let error = plainly(&source, &target, Flags::LIVE, plain).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ARGUMENT_UNSUPPORTED);
    let (none, nothing) = (Fake::new("S", &[], &notes), Fake::new("T", &[], &notes));
    let error = by_params(&none, &nothing, Flags::LIVE).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NO_SUPPORT);
    let params = TypedParams::new().with(param::COMPRESSION, "mt");
    let between = Between {
        source: source.end(),
        target: target.end(),
        domain: guest(),
    };
    let error = between.run_params(&params, Flags::LIVE).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ARGUMENT_UNSUPPORTED);
}

#[test]
fn flags_that_exclude_or_require_each_other_are_looked_at_first() {
    let notes = Notes::default();
    let (source, target) = (
        Fake::new("S", &PROTECTED, &notes),
        Fake::new("T", &PROTECTED, &notes),
    );
    for flags in [
        Flags::NON_SHARED_DISK | Flags::NON_SHARED_INC,
        Flags::NON_SHARED_SYNCHRONOUS_WRITES,
        Flags::TUNNELLED | Flags::PARALLEL,
    ] {
        let error = plainly(&source, &target, flags, Plain::default()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::INVALID_ARG, "{flags:?}");
    }
    let error = plainly(&source, &target, Flags::TUNNELLED, Plain::default()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_INVALID);
    let named = Plain {
        name: Some(""),
        ..Plain::default()
    };
    assert!(plainly(&source, &target, Flags::LIVE, named).is_err());
    assert!(by_params(&source, &target, Flags::PEER2PEER).is_err());
    let mut between = Between {
        source: source.end(),
        target: target.end(),
        domain: guest(),
    };
    between.target.read_only = true;
    let error = between.run_params(&TypedParams::new(), Flags::LIVE).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OPERATION_DENIED);
    assert!(notes.lock().is_empty(), "nothing was begun");
}

#[test]
fn a_source_goes_by_itself_in_the_newest_form_it_knows() {
    let notes = Notes::default();
    let go = |features: &[i32], daemon, plain, flags| {
        let source = Fake::new("S", features, &notes);
        alone_checked(
            "virDomainMigrateToURI",
            &source.end(),
            &guest(),
            daemon,
            plain,
            flags,
        )
    };
    let peer = Flags::PEER2PEER;
    let far = Some("qemu+tls://far/system");
    go(&PROTECTED, far, Plain::default(), peer).unwrap();
    go(
        &[feature::V3, feature::PEER_TO_PEER],
        far,
        Plain::default(),
        peer | Flags::TUNNELLED,
    )
    .unwrap();
    go(&[feature::PEER_TO_PEER], far, Plain::default(), peer).unwrap();
    let direct = Plain {
        uri: Some("xenmigr://far"),
        ..Plain::default()
    };
    go(
        &[feature::DIRECT, feature::PARAMS, feature::V3],
        None,
        direct,
        Flags::empty(),
    )
    .unwrap();
    assert_eq!(
        *notes.lock(),
        [
            "S perform3_params 0x2 < qemu+tls://far/system",
            "S perform3 0x6 < qemu+tls://far/system",
            "S perform 0x2 < qemu+tls://far/system",
            "S perform3 0x0 < xenmigr://far",
        ]
    );
    for here in ["qemu:///system", "qemu+ssh://localhost/system"] {
        let error = go(&PROTECTED, Some(here), Plain::default(), peer).unwrap_err();
        assert!(
            error.message().contains("is the host where the domain runs"),
            "{error}"
        );
    }
    go(
        &PROTECTED,
        Some("qemu+unix:///system?socket=/far"),
        Plain::default(),
        peer,
    )
    .unwrap();
    let error = go(&PROTECTED, None, Plain::default(), Flags::empty()).unwrap_err();
    assert!(error.message().contains("does not migrate directly"), "{error}");
    let xml = Plain {
        xml: Some("<domain/>"),
        ..Plain::default()
    };
    let error = go(&[feature::PEER_TO_PEER], far, xml, peer).unwrap_err();
    assert!(error.message().contains("protocol 2"), "{error}");

    // With both connections in hand the source is told the destination's URI.
    notes.lock().clear();
    let (source, target) = (
        Fake::new("S", &PROTECTED, &notes),
        Fake::new("T", &PROTECTED, &notes),
    );
    plainly(&source, &target, peer, Plain::default()).unwrap();
    assert_eq!(
        *notes.lock(),
        ["S perform3_params 0x2 < qemu+ssh://far/system", "T lookup web"]
    );
}
