//! Where images are: on the host, on other hosts, in pools. Snapshots and backups have the same.

use virt_util::words;
use virt_util::xml::rules::{Must, Rule};
use virt_util::xml::shapes::{Part, Shape};
pub(in super::super) use virt_util::xml::shapes::{any, maybe, one, shape, some};

use super::super::common::{ENCRYPTION_RULES, IMAGE_FORMAT, PCI_ADDRESS, SCALED, rule};
use crate::forms;

/// What an element has around its `source`.
pub(super) const HOLDER: &[Part] = &[
    maybe("@type").is(words!(
        "file",
        "block",
        "dir",
        "network",
        "volume",
        "nvme",
        "vhostuser",
        "vhostvdpa"
    )),
    maybe("source"),
];

/// What every source may have.
pub(in super::super) const COMMON: &[Part] = &[
    maybe("@index").is(forms::POSITIVE),
    maybe("slices"),
    maybe("dataStore"),
];
/// What sources on the host may have besides.
pub(in super::super) const LOCAL: &[Part] = &[any("seclabel"), maybe("encryption")];
const STARTUP: &[Part] = &[maybe("@startupPolicy").is(STARTUP_POLICY)];
pub(super) const STARTUP_POLICY: virt_util::xml::rules::Form = words!("mandatory", "requisite", "optional");

/// Sources of disks and their backing files; the elements called `source` in other devices have longer paths.
pub(in super::super) const SHAPES: &[Shape] = &[
    shape(
        "source",
        &[
            COMMON,
            LOCAL,
            STARTUP,
            &[maybe("@file").is(forms::SOURCE_FILE), maybe("@fdgroup")],
        ],
    )
    .when(&[("../@type?", &["file"])]),
    shape(
        "source",
        &[
            COMMON,
            LOCAL,
            STARTUP,
            &[maybe("@dev").is(forms::PATH_OR_DEVICE), maybe("reservations")],
        ],
    )
    .when(&[("../@type", &["block"])]),
    shape(
        "source",
        &[
            COMMON,
            STARTUP,
            &[one("@dir").is(forms::ABSOLUTE_PATH), maybe("encryption")],
        ],
    )
    .when(&[("../@type", &["dir"])]),
    shape(
        "source",
        &[
            COMMON,
            LOCAL,
            STARTUP,
            &[
                one("@pool").is(forms::OBJECT_NAME),
                one("@volume").is(forms::VOLUME_NAME),
                maybe("@mode").is(words!("host", "direct")),
            ],
        ],
    )
    .when(&[("../@type", &["volume"])]),
    shape(
        "source",
        &[
            COMMON,
            STARTUP,
            &[
                one("@type").is(words!("pci")),
                one("@namespace").is(forms::UINT32),
                maybe("@managed").is(forms::YES_NO),
                one("address"),
                maybe("encryption"),
            ],
        ],
    )
    .when(&[("../@type", &["nvme"])]),
    shape(
        "source",
        &[&[
            one("@type").is(words!("unix")),
            one("@path").is(forms::ABSOLUTE_PATH),
            maybe("reconnect"),
        ]],
    )
    .when(&[("../@type", &["vhostuser"])]),
    shape("source", &[&[one("@dev").is(forms::ABSOLUTE_PATH)]]).when(&[("../@type", &["vhostvdpa"])]),
    shape("source/address", &[PCI_ADDRESS]),
    shape(
        "source/reservations",
        &[&[maybe("@managed").is(forms::YES_NO), maybe("source")]],
    ),
    shape(
        "reservations/source",
        &[&[
            one("@type").is(words!("unix")),
            one("@path").is(forms::ABSOLUTE_PATH),
            one("@mode").is(words!("server", "client")),
            maybe("reconnect"),
        ]],
    ),
    shape("source/slices", &[&[one("slice")]]),
    shape(
        "slices/slice",
        &[&[
            one("@type").is(words!("storage")),
            one("@offset").is(forms::UNSIGNED_INT),
            one("@size").is(forms::POSITIVE),
        ]],
    ),
    shape("source/dataStore", &[HOLDER, &[one("format")]]),
    shape(
        "format",
        &[&[one("@type").is(IMAGE_FORMAT), maybe("metadata_cache")]],
    ),
    shape("metadata_cache", &[&[maybe("max_size")]]),
    shape("metadata_cache/max_size", &[SCALED]),
];

pub(in super::super) const ENCRYPTED: &[Part] = &[maybe("encryption")];
pub(in super::super) const NAMED: &[Part] = &[one("@name")];
pub(in super::super) const ONE_HOST: &[Part] = &[one("host")];
/// Read ahead, and how long to wait.
pub(in super::super) const PROPERTIES: &[Part] = &[maybe("readahead"), maybe("timeout")];
pub(in super::super) const COOKIES: &[Part] = &[maybe("@query"), maybe("cookies"), maybe("auth")];
pub(in super::super) const TLS_VERIFY: &[Part] = &[maybe("ssl")];
pub(in super::super) const AUTH: &[Part] = &[maybe("auth")];

/// Sources on other hosts, where they stand at a path.
macro_rules! network_sources {
    ($element:literal) => {{
        use crate::schema::domain::source::*;
        &[
            shape(
                $element,
                &[
                    COMMON,
                    ENCRYPTED,
                    AUTH,
                    &[maybe("@name"), any("host"), maybe("snapshot"), maybe("config")],
                ],
            )
            .when(&[("../@type", &["network"]), ("@protocol", &["rbd"])]),
            shape(
                $element,
                &[COMMON, ENCRYPTED, NAMED, ONE_HOST, AUTH, &[maybe("initiator")]],
            )
            .when(&[("../@type", &["network"]), ("@protocol", &["iscsi"])]),
            shape(
                $element,
                &[COMMON, ENCRYPTED, NAMED, ONE_HOST, COOKIES, PROPERTIES],
            )
            .when(&[("../@type", &["network"]), ("@protocol", &["http"])]),
            shape(
                $element,
                &[
                    COMMON, ENCRYPTED, NAMED, ONE_HOST, COOKIES, PROPERTIES, TLS_VERIFY,
                ],
            )
            .when(&[("../@type", &["network"]), ("@protocol", &["https"])]),
            shape(
                $element,
                &[COMMON, ENCRYPTED, NAMED, ONE_HOST, PROPERTIES, AUTH, TLS_VERIFY],
            )
            .when(&[("../@type", &["network"]), ("@protocol", &["ftps"])]),
            shape($element, &[COMMON, ENCRYPTED, NAMED, ONE_HOST, PROPERTIES, AUTH])
                .when(&[("../@type", &["network"]), ("@protocol", &["ftp"])]),
            shape($element, &[COMMON, ENCRYPTED, NAMED, ONE_HOST, PROPERTIES])
                .when(&[("../@type", &["network"]), ("@protocol", &["sheepdog", "tftp"])]),
            shape(
                $element,
                &[
                    COMMON,
                    ENCRYPTED,
                    NAMED,
                    ONE_HOST,
                    PROPERTIES,
                    AUTH,
                    &[maybe("knownHosts"), maybe("identity")],
                ],
            )
            .when(&[("../@type", &["network"]), ("@protocol", &["ssh"])]),
            shape(
                $element,
                &[
                    COMMON,
                    ENCRYPTED,
                    ONE_HOST,
                    &[
                        maybe("@name"),
                        maybe("@tls").is(forms::YES_NO),
                        maybe("@tlsHostname"),
                        maybe("reconnect"),
                    ],
                ],
            )
            .when(&[("../@type", &["network"]), ("@protocol", &["nbd"])]),
            shape($element, &[COMMON, ENCRYPTED, NAMED, &[some("host")]])
                .when(&[("../@type", &["network"]), ("@protocol", &["gluster"])]),
            shape(
                $element,
                &[
                    COMMON,
                    NAMED,
                    ONE_HOST,
                    &[maybe("@tls").is(forms::YES_NO), maybe("identity")],
                ],
            )
            .when(&[("../@type", &["network"]), ("@protocol", &["vxhs", "nfs"])]),
        ]
    }};
}
pub(in super::super) use network_sources;

/// What sources on other hosts are made of.
pub(in super::super) const NETWORK_PARTS: &[Shape] = &[
    shape(
        "source/host",
        &[&[
            one("@name").is(forms::HOST),
            maybe("@port").is(forms::UNSIGNED_INT),
        ]],
    )
    .when(&[("@transport?", &["tcp", "rdma"])]),
    shape("source/host", &[&[one("@socket").is(forms::ABSOLUTE_PATH)]]).when(&[("@transport", &["unix"])]),
    shape("source/snapshot", &[&[one("@name").is(forms::GENERIC_NAME)]]),
    shape("source/config", &[&[one("@file").is(forms::ABSOLUTE_PATH)]]),
    shape(
        "auth",
        &[&[one("@username").is(forms::GENERIC_NAME), one("secret")]],
    ),
    shape(
        "auth/secret",
        &[&[
            one("@type").is(words!("ceph", "iscsi")),
            maybe("@uuid").is(forms::UUID),
            maybe("@usage").is(forms::OBJECT_NAME),
        ]],
    ),
    shape("source/initiator", &[&[one("iqn")]]),
    shape("initiator/iqn", &[&[one("@name")]]),
    shape("source/readahead", &[&[one("@size").is(forms::POSITIVE)]]),
    shape("source/timeout", &[&[one("@seconds").is(forms::POSITIVE)]]),
    shape("source/ssl", &[&[one("@verify").is(forms::YES_NO)]]),
    shape("source/cookies", &[&[some("cookie")]]),
    shape(
        "cookies/cookie",
        &[&[
            one("@name").is(forms::COOKIE_NAME),
            one("text()").is(forms::COOKIE_VALUE),
        ]],
    ),
    shape("source/knownHosts", &[&[one("@path").is(forms::ABSOLUTE_PATH)]]),
    shape(
        "source/identity",
        &[&[
            one("@username").is(forms::GENERIC_NAME),
            maybe("@keyfile").is(forms::ABSOLUTE_PATH),
            maybe("@agentsock").is(forms::ABSOLUTE_PATH),
        ]],
    )
    .when(&[("../@protocol", &["ssh"])]),
    shape(
        "source/identity",
        &[&[
            maybe("@user").is(forms::GENERIC_NAME),
            maybe("@group").is(forms::GENERIC_NAME),
        ]],
    )
    .when(&[("../@protocol", &["nfs"])]),
];

pub(in super::super) const RULES: &[Rule] = &[
    ENCRYPTION_RULES[0],
    ENCRYPTION_RULES[1],
    ENCRYPTION_RULES[2],
    ENCRYPTION_RULES[3],
    ENCRYPTION_RULES[4],
    rule("auth/secret", &[], Must::HaveOneOf(&["@uuid", "@usage"])),
    rule("auth/secret", &[], Must::NotBoth(&["@uuid", "@usage"])),
    rule(
        "source/identity",
        &[("../@protocol", &["ssh"])],
        Must::HaveOneOf(&["@keyfile", "@agentsock"]),
    ),
    rule(
        "source/identity",
        &[("../@protocol", &["ssh"])],
        Must::NotBoth(&["@keyfile", "@agentsock"]),
    ),
    rule(
        "source",
        &[("@protocol", &["ssh"])],
        Must::NotBoth(&["identity", "auth"]),
    ),
    rule("source", &[], Must::InOrder(&[&["slices"], &["dataStore"]])),
    rule("source", &[("@protocol", &["nfs"])], Must::NotHave(&["@tls"])),
    rule(
        "source",
        &[("@protocol", &["vxhs"])],
        Must::NotHave(&["identity"]),
    ),
    rule(
        "source/dataStore",
        &[("@type", &["network", "vhostuser", "vhostvdpa"])],
        Must::Have(&["source"]),
    ),
];
