//! Access control inside the waist: permissions are checked on the object that was found or parsed, never on the name
//! or UUID that a packet claims.
//!
//! Two ways lead to a driver's method. Where the object is in the arguments, the dispatch asks the driver's
//! [`Resolver`] for it, checks the permissions on what was found, and hands the method a [`Resolved`], which nothing
//! else can make. Where the object is only in XML, a lookup key, a cookie or a saved image, the method is handed
//! [`Unchecked`] and must return [`Authorized`], which only [`CallContext::authorize`] leads to.

use std::any::Any;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use virt_util::typed_param::TypedParams;
use virt_util::{Result, VirtError};

use crate::call::{CallContext, Permit, access_denied};

mod objects;

pub use objects::*;

/// The kinds of objects that permissions are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ObjectKind {
    /// The connection as a whole.
    Connect,
    /// A domain.
    Domain,
    /// A host interface.
    Interface,
    /// A virtual network.
    Network,
    /// A port of a virtual network.
    NetworkPort,
    /// A host device.
    NodeDevice,
    /// A network filter.
    Nwfilter,
    /// The binding of a network filter to a port.
    NwfilterBinding,
    /// A secret.
    Secret,
    /// A storage pool.
    StoragePool,
    /// A storage volume.
    StorageVol,
}

impl ObjectKind {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Connect, "connect"),
        (Self::Domain, "domain"),
        (Self::Interface, "interface"),
        (Self::Network, "network"),
        (Self::NetworkPort, "network-port"),
        (Self::NodeDevice, "node-device"),
        (Self::Nwfilter, "nwfilter"),
        (Self::NwfilterBinding, "nwfilter-binding"),
        (Self::Secret, "secret"),
        (Self::StoragePool, "storage-pool"),
        (Self::StorageVol, "storage-vol"),
    ];

    /// libvirt's name of the kind, as policies spell it.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("connect", |(_, name)| name)
    }

    /// The kind of that name; `_` and `-` are the same.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.replace('_', "-");
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }
}

/// One thing that a policy allows or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    /// What it is about.
    pub object: ObjectKind,
    /// libvirt's name of it: `getattr`, `read`, `write`, `start` …
    pub name: &'static str,
}

/// Something that a policy can be asked about.
pub trait AccessObject {
    /// The attributes that policies see when a permission on `kind` is asked for, `None` if this has no such side: a
    /// volume answers for itself and for its pool, a snapshot for its domain.
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams>;
}

/// What a driver knows an object by: whatever type it likes.
pub type Handle = Arc<dyn Any + Send + Sync>;

/// What a [`Resolver`] found: the object's attributes as they are now, and the driver's own handle of it.
pub struct Found<T> {
    /// Name, UUID and the like, from the driver's own books.
    pub attributes: T,
    /// The driver's own object.
    pub handle: Handle,
}

impl<T> Found<T> {
    /// Couples the attributes with the driver's object.
    pub fn new<H: Any + Send + Sync>(attributes: T, handle: Arc<H>) -> Self {
        Self { attributes, handle }
    }

    /// For drivers that need nothing but the attributes.
    pub fn attributes(attributes: T) -> Self {
        Self {
            attributes,
            handle: Arc::new(()),
        }
    }
}

/// An object that exists and on which the caller holds the permissions of this call. Derefs to its attributes.
pub struct Resolved<T> {
    attributes: T,
    handle: Handle,
}

impl<T> Resolved<T> {
    /// The driver's own object.
    pub fn handle<H: Any + Send + Sync>(&self) -> Result<&H> {
        self.handle.downcast_ref().ok_or_else(|| wrong_handle::<H>())
    }

    /// The driver's own object, to keep.
    pub fn handle_arc<H: Any + Send + Sync>(&self) -> Result<Arc<H>> {
        Arc::clone(&self.handle)
            .downcast()
            .map_err(|_| wrong_handle::<H>())
    }

    /// The attributes alone.
    pub fn attributes(&self) -> &T {
        &self.attributes
    }
}

impl<T: AccessObject> Resolved<T> {
    /// Checks the permissions of the call on what was found. For the generated dispatch.
    pub fn admit(cx: &mut CallContext<'_>, found: Found<T>) -> Result<Self> {
        cx.authorize_one(&found.attributes)?;
        Ok(Self {
            attributes: found.attributes,
            handle: found.handle,
        })
    }
}

impl<T> Deref for Resolved<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.attributes
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Resolved<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Resolved").field(&self.attributes).finish()
    }
}

fn wrong_handle<H>() -> VirtError {
    VirtError::internal(format_args!(
        "the object's handle is not a {}",
        std::any::type_name::<H>()
    ))
}

/// Handed to methods whose object nobody could check before them. They must call [`CallContext::authorize`].
#[derive(Debug)]
pub struct Unchecked(());

impl Unchecked {
    /// For the generated dispatch.
    pub(crate) fn new() -> Self {
        Self(())
    }
}

/// A reply that could only be made after the access check passed.
#[derive(Debug)]
pub struct Authorized<T>(T);

impl<T> Authorized<T> {
    pub(crate) fn new(_permit: Permit, reply: T) -> Self {
        Self(reply)
    }

    /// The reply in another form.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> Authorized<U> {
        Authorized(into(self.0))
    }

    /// The reply.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// The object side of permissions that concern the connection as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WholeConnection;

impl AccessObject for WholeConnection {
    fn access_attributes(&self, kind: ObjectKind) -> Option<TypedParams> {
        (kind == ObjectKind::Connect).then(TypedParams::new)
    }
}

/// What one call needs and what of it has been checked.
#[derive(Debug, Default)]
pub(crate) struct Authority {
    /// Whether a policy is configured; without one every check passes without a question.
    pub(crate) enforced: bool,
    needed: Vec<(Permission, bool)>,
    listing: Vec<Permission>,
    /// Answers for lists: the same attributes are asked about once per call.
    seen: HashMap<Vec<u8>, bool>,
}

impl Authority {
    pub(crate) fn enforced(enforced: bool) -> Self {
        Self {
            enforced,
            ..Self::default()
        }
    }

    pub(crate) fn require(&mut self, permissions: &[Permission]) {
        for permission in permissions {
            if !self.needed.iter().any(|(needed, _)| needed == permission) {
                self.needed.push((*permission, false));
            }
        }
    }

    pub(crate) fn require_for_listing(&mut self, permissions: &[Permission]) {
        self.listing.extend_from_slice(permissions);
    }

    /// The first permission that was needed and never checked.
    pub(crate) fn unchecked(&self) -> Option<Permission> {
        if !self.enforced {
            return None;
        }
        self.needed
            .iter()
            .find(|(_, checked)| !checked)
            .map(|(permission, _)| *permission)
    }

    /// Checks what is needed on `object`. What is needed on objects of other kinds stays unchecked.
    pub(crate) fn check(&mut self, cx: &CallContext<'_>, object: &dyn AccessObject) -> Result<()> {
        if !self.enforced {
            return Ok(());
        }
        for (permission, checked) in &mut self.needed {
            let Some(attributes) = object.access_attributes(permission.object) else {
                continue;
            };
            if !cx.host.check_call(cx, *permission, &attributes)? {
                return Err(access_denied(permission.object, permission.name));
            }
            *checked = true;
        }
        Ok(())
    }

    pub(crate) fn may_see(&mut self, cx: &CallContext<'_>, object: &dyn AccessObject) -> Result<bool> {
        if !self.enforced {
            return Ok(true);
        }
        for permission in self.listing.clone() {
            let Some(attributes) = object.access_attributes(permission.object) else {
                continue;
            };
            let mut key = virt_util::xdr::XdrEncode::to_xdr(&attributes)?;
            key.extend_from_slice(permission.object.name().as_bytes());
            key.push(b':');
            key.extend_from_slice(permission.name.as_bytes());
            let allowed = match self.seen.get(&key) {
                Some(allowed) => *allowed,
                None => {
                    let allowed = cx.host.check_call(cx, permission, &attributes)?;
                    self.seen.insert(key, allowed);
                    allowed
                }
            };
            if !allowed {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
