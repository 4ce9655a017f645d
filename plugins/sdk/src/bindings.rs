//! What wit-bindgen makes of `wit/`. The other modules of this crate wrap it; [`export!`](crate::export) needs it to be public.
//!
//! A world generates functions for all that may be imported; the linker drops those that nothing calls, and with them the import.

#![allow(clippy::all, unused, missing_docs, unsafe_op_in_unsafe_fn, rust_2018_idioms)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "runner:stage/stage",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "runner_sdk::bindings",
    runtime_path: "runner_sdk::bindings::runtime",
});

/// What the generated code calls, so that a plugin does not have to depend on wit-bindgen itself.
#[doc(hidden)]
pub use wit_bindgen::rt as runtime;
