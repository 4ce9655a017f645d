//! Standard WASI 0.2 as a stage sees it: always there, deterministic, and with no way out.
//!
//! Linked interface by interface, never as a whole, so that nothing enters unseen. `wasi:io` comes from `capability::io`;
//! `wasi:filesystem` and `wasi:http` from their capabilities.

mod cli;
mod clocks;
mod random;
mod sockets;

pub use cli::{Exit, StdioRoom, write_log};
pub use random::RandomRoom;

use capability::StageState;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package runner:host-wasi;
            world wasi {
                import wasi:cli/environment@0.2.12;
                import wasi:cli/exit@0.2.12;
                import wasi:cli/stdin@0.2.12;
                import wasi:cli/stdout@0.2.12;
                import wasi:cli/stderr@0.2.12;
                import wasi:cli/terminal-input@0.2.12;
                import wasi:cli/terminal-output@0.2.12;
                import wasi:cli/terminal-stdin@0.2.12;
                import wasi:cli/terminal-stdout@0.2.12;
                import wasi:cli/terminal-stderr@0.2.12;
                import wasi:clocks/monotonic-clock@0.2.12;
                import wasi:clocks/wall-clock@0.2.12;
                import wasi:random/random@0.2.12;
                import wasi:random/insecure@0.2.12;
                import wasi:random/insecure-seed@0.2.12;
                import wasi:sockets/network@0.2.12;
                import wasi:sockets/instance-network@0.2.12;
                import wasi:sockets/tcp-create-socket@0.2.12;
                import wasi:sockets/udp-create-socket@0.2.12;
                import wasi:sockets/ip-name-lookup@0.2.12;
            }
        ",
        world: "runner:host-wasi/wasi",
        imports: { default: trappable },
        require_store_data_send: true,
        with: {
            "wasi:io/error": capability::io::bindings::wasi::io::error,
            "wasi:io/poll": capability::io::bindings::wasi::io::poll,
            "wasi:io/streams": capability::io::bindings::wasi::io::streams,
            "wasi:cli/terminal-input.terminal-input": crate::wasi::cli::NoTerminal,
            "wasi:cli/terminal-output.terminal-output": crate::wasi::cli::NoTerminal,
            "wasi:sockets/network.network": crate::wasi::sockets::NoNetwork,
            "wasi:sockets/tcp.tcp-socket": crate::wasi::sockets::NoTcp,
            "wasi:sockets/udp.udp-socket": crate::wasi::sockets::NoUdp,
            "wasi:sockets/udp.incoming-datagram-stream": crate::wasi::sockets::NoIncoming,
            "wasi:sockets/udp.outgoing-datagram-stream": crate::wasi::sockets::NoOutgoing,
            "wasi:sockets/ip-name-lookup.resolve-address-stream": crate::wasi::sockets::NoAddresses,
        },
    });
}

/// Prefixes of the imports that are linked here and by `capability::io`.
pub const INTERFACES: &[&str] = &["wasi:io/", "wasi:cli/", "wasi:clocks/", "wasi:random/", "wasi:sockets/"];

pub fn link(linker: &mut Linker<StageState>) -> Result<()> {
    use bindings::wasi::{cli, clocks, random};
    type State = HasSelf<StageState>;

    capability::io::link(linker)?;
    cli::environment::add_to_linker::<_, State>(linker, |s| s)?;
    cli::exit::add_to_linker::<_, State>(linker, |s| s)?;
    cli::stdin::add_to_linker::<_, State>(linker, |s| s)?;
    cli::stdout::add_to_linker::<_, State>(linker, |s| s)?;
    cli::stderr::add_to_linker::<_, State>(linker, |s| s)?;
    cli::terminal_input::add_to_linker::<_, State>(linker, |s| s)?;
    cli::terminal_output::add_to_linker::<_, State>(linker, |s| s)?;
    cli::terminal_stdin::add_to_linker::<_, State>(linker, |s| s)?;
    cli::terminal_stdout::add_to_linker::<_, State>(linker, |s| s)?;
    cli::terminal_stderr::add_to_linker::<_, State>(linker, |s| s)?;
    clocks::monotonic_clock::add_to_linker::<_, State>(linker, |s| s)?;
    clocks::wall_clock::add_to_linker::<_, State>(linker, |s| s)?;
    random::random::add_to_linker::<_, State>(linker, |s| s)?;
    random::insecure::add_to_linker::<_, State>(linker, |s| s)?;
    random::insecure_seed::add_to_linker::<_, State>(linker, |s| s)?;
    sockets::link(linker)
}
