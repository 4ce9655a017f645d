//! WASI's own HTTP, which `std` does not know.

#![allow(clippy::all, unused, unsafe_op_in_unsafe_fn, rust_2018_idioms)]

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package guest:durable;
        world direct { import wasi:http/outgoing-handler@0.2.12; }
    ",
    world: "guest:durable/direct",
    generate_all,
});
