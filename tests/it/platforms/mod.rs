//! What differs between systems: keychains, desktops, installation, packages.

#[cfg(target_os = "linux")]
pub mod desktop;
#[cfg(unix)]
pub mod install;
#[cfg(target_os = "linux")]
pub mod keychain;
pub mod keyring_daemon;
#[cfg(unix)]
pub mod packaging;
#[cfg(target_os = "linux")]
pub mod prompter;
#[cfg(target_os = "linux")]
pub mod unlocking;
