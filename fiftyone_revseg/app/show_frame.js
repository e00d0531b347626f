// The operator `show_frame`: moves the player of a video to a frame.
//
// FiftyOne's own `set_frame_number` moves the player of image groups, but not that of videos: in
// FiftyOne 1.22 nothing listens to it there. Runs in the App, as only that has the player.
(function () {
  const { Operator, OperatorConfig, registerOperator } = window.__foo__;

  class ShowFrame extends Operator {
    get config() {
      return new OperatorConfig({
        name: "show_frame",
        label: "ReVSeg: show a frame",
        unlisted: true,
      });
    }

    useHooks() {
      return { player: window.recoil.useRecoilValue(window.__fos__.modalLooker) };
    }

    async execute({ hooks, params }) {
      if (typeof hooks.player?.seekToFrame === "function") {
        hooks.player.pause();
        hooks.player.seekToFrame(params.frame_number);
      }
    }
  }

  registerOperator(ShowFrame, "fiftyone_revseg");
})();
