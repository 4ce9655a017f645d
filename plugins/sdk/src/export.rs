//! From the component's export to [`Stage::run`] and back, and the manifest that a component carries.

use crate::bindings::{Context as WitContext, Failure as WitFailure, Outcome as WitOutcome};
use crate::{Context, Failure, Stage};

#[doc(hidden)]
pub type HostContext = WitContext;
#[doc(hidden)]
pub type HostOutcome = WitOutcome;
#[doc(hidden)]
pub type HostFailure = WitFailure;

/// Makes the crate a plugin: exports `run` and embeds the manifest.
///
/// The manifest goes verbatim into the custom section `runner:plugin`, where the host reads it without running any code:
///
/// - `export!(MyStage)` embeds `plugin.toml` beside the crate's `Cargo.toml`;
/// - `export!(MyStage, manifest = "other.toml")` another file, relative to `Cargo.toml`.
///
/// Once per crate, at the top level. For any target other than wasm it checks the types and exports nothing.
#[macro_export]
macro_rules! export {
    (@component $component:ident) => {
        $crate::bindings::export_component!($component with_types_in $crate::bindings);
    };
    ($stage:ty) => {
        $crate::export!($stage, manifest = "plugin.toml");
    };
    ($stage:ty, manifest = $manifest:literal) => {
        const _: () = {
            /// Stands between the host and the stage, so that the stage's own type needs no generated trait.
            pub struct Component;

            impl $crate::bindings::Guest for Component {
                fn run(context: $crate::HostContext) -> ::core::result::Result<$crate::HostOutcome, $crate::HostFailure> {
                    $crate::run_stage::<$stage>(context)
                }
            }

            const MANIFEST: &[u8] = ::core::include_bytes!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", $manifest));

            // An array, not a slice: the section holds the bytes themselves.
            #[cfg(target_arch = "wasm32")]
            #[used]
            #[unsafe(link_section = "runner:plugin")]
            static SECTION: [u8; MANIFEST.len()] = {
                let mut bytes = [0; MANIFEST.len()];
                bytes.copy_from_slice(MANIFEST);
                bytes
            };

            #[cfg(target_arch = "wasm32")]
            $crate::export!(@component Component);

            // Where there is no export, this keeps the compiler from calling the stage dead code.
            #[cfg(not(target_arch = "wasm32"))]
            #[used]
            static RUN: fn($crate::HostContext) -> ::core::result::Result<$crate::HostOutcome, $crate::HostFailure> =
                <Component as $crate::bindings::Guest>::run;
        };
    };
}

/// What the exported function does: reads the settings, runs the stage, and translates its answer.
#[doc(hidden)]
pub fn run_stage<S: Stage>(context: WitContext) -> Result<WitOutcome, WitFailure> {
    let context = Context::from(context);
    let settings = settings::<S::Settings>(&context.settings)?;
    match S::run(&context, settings) {
        Ok(outcome) => Ok(WitOutcome { summary: outcome.summary }),
        Err(failure) => Err(failure.into()),
    }
}

fn settings<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| {
        let text = error.to_string();
        // "at line 1 column 40" speaks of the JSON that the host made, which the user never sees.
        let text = text.split(" at line ").next().unwrap_or_default();
        Failure::misconfigured(format_args!("`with`: {text}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        name: String,
    }

    struct Hello;

    impl Stage for Hello {
        type Settings = Settings;

        fn run(context: &Context, settings: Settings) -> Result<Outcome, Failure> {
            if settings.name.is_empty() {
                return Err(Failure::failed("nobody to greet"));
            }
            Ok(Outcome::new(format_args!("hello {} from {}", settings.name, context.stage)))
        }
    }

    fn context(settings: &str) -> WitContext {
        WitContext {
            pipeline: "p".into(),
            run: "r".into(),
            stage: "s".into(),
            attempt: 1,
            settings: settings.into(),
            env: vec![],
            mounts: vec![],
            grants: vec![],
        }
    }

    #[test]
    fn the_outcome_and_the_failure_reach_the_host() {
        assert_eq!(run_stage::<Hello>(context(r#"{"name":"Ada"}"#)).unwrap().summary, "hello Ada from s");
        assert!(matches!(run_stage::<Hello>(context(r#"{"name":""}"#)), Err(WitFailure::Failed(text)) if text == "nobody to greet"));
    }

    #[test]
    fn settings_that_do_not_fit_are_the_users_mistake() {
        let Err(WitFailure::Misconfigured(text)) = run_stage::<Hello>(context(r#"{"nam":"Ada"}"#)) else { panic!("not misconfigured") };
        assert_eq!(text, "`with`: unknown field `nam`, expected `name`");
    }
}
