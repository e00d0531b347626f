// The part of the plugin that runs in the App: what Python cannot reach there.
//
// * the operator `show_frame` moves the player of a video to a frame. FiftyOne's own
//   `set_frame_number` moves the player of image groups, but not that of videos: in FiftyOne 1.22
//   nothing listens to it there
// * the operator `show_sample` turns the open modal to another sample of the grid
// * the operator `refresh_labels` shows the labels of the open sample as they are now. FiftyOne's own
//   `reload_dataset` reads the sidebar and the grid anew, but neither the player, which keeps the
//   sample that it was opened with, nor the annotation mode, which reads its labels when it is
//   entered: it would go on showing, and saving, labels that are no more
// * the component `RevsegReview` listens for the keys of the reasoning panel, and hides the panel
//   while it shows another sample than the one that is open
(function () {
  const { Operator, OperatorConfig, registerOperator, useTriggerPanelEvent } = window.__foo__;
  const state = window.__fos__;
  const React = window.React;
  const AGAIN = [0, 1000, 3000, 8000]; // milliseconds

  class Unlisted extends Operator {
    static operator = "";
    static label = "";

    get config() {
      const { operator, label } = this.constructor;
      return new OperatorConfig({ name: operator, label, unlisted: true });
    }
  }

  class ShowFrame extends Unlisted {
    static operator = "show_frame";
    static label = "ReVSeg: show a frame";

    useHooks() {
      return { player: window.recoil.useRecoilValue(state.modalLooker) };
    }

    async execute({ hooks, params }) {
      if (typeof hooks.player?.seekToFrame === "function") {
        hooks.player.pause();
        hooks.player.seekToFrame(params.frame_number);
      }
    }
  }

  class ShowSample extends Unlisted {
    static operator = "show_sample";
    static label = "ReVSeg: show a sample";

    useHooks() {
      return { open: state.useSetExpandedSample() };
    }

    async execute({ hooks, params }) {
      hooks.open((await walk(params.id, params.steps)) ?? { id: params.id });
    }
  }

  class RefreshLabels extends Unlisted {
    static operator = "refresh_labels";
    static label = "ReVSeg: show the labels as they are now";

    useHooks() {
      return {
        mode: state.useModalMode(),
        modes: state.useModalModeController(),
        update: state.useUpdateSamples(),
        id: state.useCurrentSampleId(),
        dataset: window.recoil.useRecoilValue(state.datasetName),
        view: window.recoil.useRecoilValue(state.view),
        player: window.recoil.useRecoilValue(state.modalLooker),
      };
    }

    async execute({ hooks }) {
      if (!hooks.id) return;
      const sample = await read(hooks);
      if (sample) hooks.update([[hooks.id, sample]]);
      // The player of the open sample is not always among those that this reaches, what
      // reload_dataset has begun may give it the old sample once more, and while it is at work it
      // takes no new one
      for (const wait of AGAIN) setTimeout(() => show(hooks), wait);
      if (hooks.mode !== "annotate") return;
      hooks.modes.activateExploreMode();
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)));
      hooks.modes.activateAnnotateMode();
    }
  }

  // Hands the open sample, as it is now, to its player
  async function show(hooks) {
    const known = hooks.player?.sample ?? {};
    if (![known.id, known._id].includes(hooks.id)) return;
    const sample = await read(hooks);
    if (sample) hooks.player.updateSample?.(sample);
  }

  // Reads a sample as the App does where it opens one; null if it is not in the view any more
  async function read({ dataset, view, id }) {
    const query = `query ($dataset: String!, $view: BSONArray!, $filter: SampleFilter!) {
      sample(dataset: $dataset, view: $view, filter: $filter) {
        ... on ImageSample { sample }
        ... on VideoSample { sample }
      }
    }`;
    const variables = { dataset, view, filter: { id } };
    const request = window.__fou__.getFetchFunction();
    const { data } = await request("POST", "/graphql", { query, variables });
    return data?.sample?.sample ?? null;
  }

  // Goes so many samples on as the App's own arrows do, which then know where the user is; null if
  // that does not lead to the sample, as where the grid has another order by now
  async function walk(id, steps) {
    const arrows = state.modalNavigation?.get?.();
    if (!arrows || !steps) return null;
    const go = (by) => (by > 0 ? arrows.next(by) : arrows.previous(-by));
    try {
      const found = await go(steps);
      if (found?.id === id) return found;
      await go(-steps);
    } catch {
      // there are not so many samples in the grid
    }
    return null;
  }

  const HIDDEN = ".revseg-page > :not(.revseg-keys) { visibility: hidden; }";
  const LATE = 1500; // milliseconds without an answer after which the panel is asked again
  const DRAWN = 300; // milliseconds after which an answer is drawn, if it changes anything
  const ABOVE = "[data-cy^='operators-'], [role='dialog'] [role='dialog'], .MuiPopover-root";

  function isTyping(element) {
    return (
      element?.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(element?.tagName)
    );
  }

  function RevsegReview({ schema }) {
    const { keys = {}, current_sample: shown = null, page, refresh } = schema.view;
    const current = state.useCurrentSampleId();
    const mode = state.useModalMode();
    const trigger = useTriggerPanelEvent();
    const busy = React.useRef(false);
    // An answer about a sample that was left may come late, and even after that about the new one
    const isOther = (current ?? null) !== shown;

    React.useEffect(() => {
      busy.current = false;
    }, [shown, page]);

    React.useEffect(() => {
      if (!isOther) return undefined;
      const waiting = setTimeout(() => trigger(refresh, {}), LATE);
      return () => clearTimeout(waiting);
    }, [isOther, current, shown, refresh]);

    React.useEffect(() => {
      const listen = (event) => {
        const own = keys[event.key.toLowerCase()];
        const modified = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
        if (!own || modified || isTyping(event.target) || document.querySelector(ABOVE)) return;
        if (current && mode !== "explore") return; // FiftyOne's annotation has keys of its own
        event.preventDefault();
        event.stopImmediatePropagation();
        // Who holds a key, or is faster than the App, must not judge what was not shown yet
        if (event.repeat || isOther || busy.current) return;
        busy.current = true;
        trigger(own.operator, own.params ?? {}, false, () => {
          setTimeout(() => (busy.current = false), DRAWN);
        });
      };
      document.addEventListener("keydown", listen, true);
      return () => document.removeEventListener("keydown", listen, true);
    }, [keys, isOther, current, mode, trigger]);

    if (!isOther) return null;
    return React.createElement(
      "div",
      { "data-cy": "revseg-loading" },
      React.createElement("style", null, HIDDEN),
      "Loading ..."
    );
  }

  registerOperator(ShowFrame, "fiftyone_revseg");
  registerOperator(ShowSample, "fiftyone_revseg");
  registerOperator(RefreshLabels, "fiftyone_revseg");
  window.__fop__.registerComponent({
    name: "RevsegReview",
    label: "RevsegReview",
    component: RevsegReview,
    type: window.__fop__.PluginComponentType.Component,
    activator: () => true,
  });
})();
