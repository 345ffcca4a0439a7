//! Procedural macros of Ferrovirt. They are re-exported where they are used:
//! `virt_util::xml::Xml` and `virt_api::implements`.
#![forbid(unsafe_code)]
