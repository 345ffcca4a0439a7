//! Who a client is, and how it proves that.
//!
//! | module | for |
//! |---|---|
//! | [`identity`] | what is known of a client: its process, its certificate, its SASL name |
//! | [`sasl`], [`passwords`] | SASL, and the file of users |
//! | [`polkit`] | asking polkit about a process |
//! | [`tls`], [`dn`] | the TLS server and the names in certificates |

pub mod passwords;
pub mod sasl;
