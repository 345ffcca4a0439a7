//! The remote driver: forwards every call to a daemon that speaks libvirt's protocol.
#![forbid(unsafe_code)]
