//! What a person sees: files in, diagnostics or a plan out, with fake plugins and capabilities.

mod bind;
mod codes;
mod compose_file;
mod daily;
mod design;
mod editor;
mod fakes;
mod plan;
mod robust;
mod rules;
mod when;
