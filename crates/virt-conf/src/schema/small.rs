//! The schemas of secrets, of the filters of one interface, and of network ports.

use virt_util::words;
use virt_util::xml::shapes::{Shape, Table, maybe, one, shape};

use super::filter::{FILTER_PARAMETER, FILTER_REFERENCE};
use super::network::{NETWORK_PARTS, VIRTUAL_PORT_SHAPES};
use crate::forms::{self, TEXT};

/// Secrets.
pub(super) const SECRET: Table = Table {
    shapes: &[&[
        shape(
            "secret",
            &[&[
                maybe("@ephemeral").is(forms::YES_NO),
                maybe("@private").is(forms::YES_NO),
                maybe("uuid").is(forms::UUID),
                maybe("description").is(TEXT),
                maybe("usage"),
            ]],
        ),
        shape("secret/usage", &[&[one("volume").is(forms::ABSOLUTE_PATH)]]).when(&[("@type", &["volume"])]),
        shape("secret/usage", &[&[one("name").is(forms::OBJECT_NAME)]])
            .when(&[("@type", &["ceph", "tls", "vtpm"])]),
        shape("secret/usage", &[&[one("target").is(forms::OBJECT_NAME)]]).when(&[("@type", &["iscsi"])]),
    ]],
    rules: &[],
    namespaces: &[],
};

/// The filters of one interface.
pub(super) const FILTER_BINDING: Table = Table {
    shapes: &[&[
        shape(
            "filterbinding",
            &[&[
                one("owner"),
                one("portdev"),
                maybe("linkdev"),
                one("mac"),
                one("filterref"),
            ]],
        ),
        OWNER,
        shape("filterbinding/portdev", &[&[one("@name")]]),
        shape("filterbinding/linkdev", &[&[one("@name")]]),
        shape("filterbinding/mac", &[&[one("@address").is(forms::UNICAST_MAC)]]),
        shape("filterbinding/filterref", &[FILTER_REFERENCE]),
        FILTER_PARAMETER,
    ]],
    rules: &[],
    namespaces: &[],
};

/// Network ports.
pub(super) const NETWORK_PORT: Table = Table {
    shapes: &[
        &[
            shape(
                "networkport",
                &[
                    &[
                        one("uuid").is(forms::UUID),
                        one("owner"),
                        one("mac"),
                        maybe("group").is(forms::DEVICE_NAME),
                        maybe("rxfilters"),
                        maybe("port"),
                        maybe("plug"),
                    ],
                    NETWORK_PARTS,
                ],
            ),
            OWNER,
            shape("networkport/mac", &[&[one("@address").is(forms::UNICAST_MAC)]]),
            shape(
                "networkport/rxfilters",
                &[&[one("@trustGuest").is(forms::YES_NO)]],
            ),
            shape(
                "networkport/plug",
                &[&[
                    one("@bridge").is(forms::DEVICE_NAME),
                    maybe("@macTableManager").is(words!("kernel", "libvirt")),
                ]],
            )
            .when(&[("@type", &["network", "bridge"])]),
            shape(
                "networkport/plug",
                &[&[
                    one("@dev").is(forms::DEVICE_NAME),
                    one("@mode").is(words!("bridge", "passthrough", "private", "vepa")),
                ]],
            )
            .when(&[("@type", &["direct"])]),
            shape(
                "networkport/plug",
                &[&[
                    maybe("@managed").is(forms::YES_NO),
                    maybe("driver"),
                    one("address"),
                ]],
            )
            .when(&[("@type", &["hostdev-pci"])]),
            shape("plug/address", &[super::common::PCI_ADDRESS]),
            super::network::HOST_DRIVER,
        ],
        VIRTUAL_PORT_SHAPES,
    ],
    rules: &[],
    namespaces: &[],
};

/// The domain.
const OWNER: Shape = shape("owner", &[&[one("name").is(TEXT), one("uuid").is(forms::UUID)]]);
