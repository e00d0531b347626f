"""The operators ``compare``, ``views`` and ``export``: on every kind of collection, and refused."""

import json

import fiftyone as fo
import fiftyone.operators as foo
import pytest
from contents import contents
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone.operators.executor import ExecutionContext, ExecutionError, Executor
from PIL import Image

import fiftyone_revseg as revseg
from fiftyone_revseg.app import running
from fiftyone_revseg.app.compare import Compare
from fiftyone_revseg.app.export import _FORMATS, Export
from fiftyone_revseg.app.running import result_of
from fiftyone_revseg.app.views import Views
from fiftyone_revseg.dataset.export import FORMATS
from fiftyone_revseg.pipeline import Loading

COMPARE, VIEWS, EXPORT = (f"fiftyone_revseg/{name}" for name in ("compare", "views", "export"))


@pytest.fixture
def segmented(fake_model, dataset):
    """Two label fields, of which the second has fewer masks in the first video."""
    segment(dataset, fake_model)
    return dataset


def segment(samples, tracker):
    from fiftyone_revseg.app import held_models as models

    model = models.get_model(Loading())
    revseg.segment_view(samples, model, queries="the ghost", prompt_field="query")
    tracker.hidden = (2,)
    revseg.segment_view(
        samples, model, queries="the ghost", prompt_field="query", label_field="second"
    )


def execute(uri, samples, selected=(), **params):
    kind = "dataset" if isinstance(samples, fo.Dataset) else "view"
    ctx = {kind: samples, "selected": list(selected), "params": params}
    if selected:
        ctx["view_target"] = "SELECTED_SAMPLES"
    return result_of(foo.execute_operator(uri, ctx))


def app_context(uri, dataset, **params):
    """The context that the App makes for an operator."""
    request = {"dataset_name": dataset.name, "view": [], "params": params, "operator_uri": uri}
    return ExecutionContext(request, executor=Executor(), operator_uri=uri)


def form(operator, dataset, **params):
    ctx = app_context(f"fiftyone_revseg/{operator.config.name}", dataset, **params)
    return operator.resolve_input(ctx).type.properties


def shown_by(operator, dataset, **params):
    """The (name, parameters) of what the App is asked to do, and the result."""
    ctx = app_context(f"fiftyone_revseg/{operator.config.name}", dataset, **params)
    messages = list(operator.execute(ctx))
    assert messages[-1].body is not None, messages[-1].error
    asked = {m.body.operator_uri: m.body.params for m in messages}
    return asked, asked["show_output"]["results"]


def test_compare_a_dataset(segmented):
    result = execute(COMPARE, segmented)
    assert result["state"] == "done"
    assert result["field"] == "second_vs_revseg"  # the most recent one first
    assert result["view"] == "second_vs_revseg disagreement"
    segmented.reload()
    values = segmented.values(result["field"])
    assert values[0] == pytest.approx(0.9)
    assert values[1:] == [1, 1]
    view = segmented.load_saved_view(result["view"])
    assert view.first().id == segmented.first().id
    assert result["mean"] == pytest.approx(2.9 / 3)
    assert "3 of 3 compared" in result["summary"]


def test_a_persons_view_of_that_name_is_kept(segmented):
    name = "second_vs_revseg disagreement"
    segmented.save_view(name, segmented[:1], description="mine")
    for _ in range(2):
        assert execute(COMPARE, segmented)["view"] == f"{name} (ReVSeg)"
    segmented.reload()
    assert sorted(segmented.list_saved_views()) == [name, f"{name} (ReVSeg)"]
    assert segmented.load_saved_view(name).values("id") == segmented[:1].values("id")


def test_compare_shows_the_least_agreement_first(segmented):
    fields = {"field_a": "revseg", "field_b": "second"}
    asked, result = shown_by(Compare(), segmented, **fields)
    stages = [stage["_cls"].split(".")[-1] for stage in asked["set_view"]["view"]]
    assert stages == ["Match", "SortBy"]
    assert result["compared"] == 3


@pytest.mark.parametrize("name", ["compare", "views", "export"])
def test_views_selected_samples_and_clips(segmented, tmp_path, name):
    def run(samples, selected=()):
        if name == "compare":
            fields = {"field_a": "revseg", "field_b": "second"}
            return execute(COMPARE, samples, selected, **fields)["compared"]
        if name == "views":
            return execute(VIEWS, samples, selected, name="not yet reviewed")["count"]
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        return execute(EXPORT, samples, selected, directory=str(out))["exported"]

    whole, one = (1, 1) if name == "views" else (3, 1)
    assert run(segmented) == whole
    assert run(segmented[:1]) == one
    assert run(segmented, segmented.values("id")[:1]) == 1
    assert run(segmented.to_clips("events")) == 2


@pytest.mark.parametrize("name", ["compare", "views", "export"])
def test_ordered_dynamic_groups(fake_model, make_dataset, tmp_path, name):
    images = []
    for scene in ("a", "b"):
        for k in range(4):
            path = tmp_path / f"{scene}{k}.png"
            Image.new("RGB", (64, 48), (40 * k, 0, 0)).save(path)
            images.append(fo.Sample(str(path), scene=scene, number=k, query="the cat"))
    dataset = make_dataset(*images)
    groups = dataset.group_by("scene", order_by="number")
    segment(groups, fake_model)
    for selected, count in ((), 2), ((groups.last().id,), 1):
        if name == "compare":
            result = execute(COMPARE, groups, selected, field_a="revseg", field_b="second")
            assert result["compared"] == count
            assert result["mean"] == pytest.approx(0.75)
        elif name == "views":
            result = execute(VIEWS, groups, selected, name="not yet reviewed", save=True)
            assert (result["count"], result["view"]) == (count, "second not yet reviewed")
        else:
            result = execute(EXPORT, groups, selected, directory=str(tmp_path / str(count)))
            assert result["exported"] == count


def test_a_slice_of_groups(fake_model, make_dataset, videos, tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    group = fo.Group()
    dataset = make_dataset(
        fo.Sample(str(tmp_path / "a.png"), query="the cat", group=group.element("map")),
        fo.Sample(videos[1], query="the cat", group=group.element("rear")),
    )
    segment(dataset.select_group_slices("rear"), fake_model)
    assert execute(COMPARE, dataset, field_a="revseg", field_b="second")["compared"] == 1
    assert execute(EXPORT, dataset, directory=str(tmp_path / "out"))["exported"] == 1
    assert execute(VIEWS, dataset, name="not yet reviewed")["count"] == 1


def test_views_are_shown_and_saved_on_request(segmented):
    asked, result = shown_by(Views(), segmented, name="no target", label_field="revseg")
    assert (result["count"], result["view"]) == (2, None)
    (stage,) = asked["set_view"]["view"]
    assert stage["_cls"].endswith("Match")
    assert segmented.list_saved_views() == []
    # What another view needs is no obstacle: the form keeps it when the choice changes
    params = {"name": "no target", "label_field": "revseg", "threshold": 0.3, "save": True}
    _, result = shown_by(Views(), segmented, **params)
    segmented.reload()
    view = segmented.load_saved_view(result["view"])
    assert result["view"] == "revseg no target"
    assert view.values("id") == segmented.values("id")[1:]


def test_an_empty_view_is_not_shown(segmented):
    asked, result = shown_by(Views(), segmented, name="rejected", label_field="revseg")
    assert "set_view" not in asked
    assert result["count"] == 0


def test_views_of_suspected_drift(segmented):
    sample = segmented.first()
    sample.frames[5].revseg.detections[0].bounding_box[3] *= 0.1
    sample.save()
    result = execute(
        VIEWS, segmented, name="drift suspected", label_field="revseg", threshold=0.6, save=True
    )
    assert (result["count"], result["view"]) == (1, "revseg drift suspected")
    assert "threshold" in form(Views(), segmented, name="low confidence")
    assert "threshold" not in form(Views(), segmented, name="failures")


@pytest.mark.parametrize("name", FORMATS)
def test_export(segmented, tmp_path, name):
    out = tmp_path / "out"
    result = execute(EXPORT, segmented, directory=f" {out} ", format=name, label_field="revseg")
    assert (result["state"], result["exported"], result["skipped"]) == ("done", 3, 0)
    assert [path for path in out.rglob("*") if path.is_file()]
    with pytest.raises(ExecutionError, match="is not empty"):
        execute(EXPORT, segmented, directory=str(out), format=name)
    execute(EXPORT, segmented, directory=str(out), format=name, overwrite=True)


def test_every_format_is_offered():
    assert list(_FORMATS) == list(FORMATS)


def test_from_scripts(segmented, tmp_path):
    compare, views, export = (foo.get_operator(uri) for uri in (COMPARE, VIEWS, EXPORT))
    result = compare(segmented[:1], "frames.revseg", "second", name="agreement")
    assert result["mean"] == pytest.approx(0.9)
    result = views(segmented, "low confidence", threshold=0.7)
    assert segmented.load_saved_view(result["view"]).count() == result["count"] == 0
    result = export(segmented[:1], tmp_path / "out", "youtube-vos", images=True)
    assert result["exported"] == 1
    assert len(list(tmp_path.glob("out/JPEGImages/a/*.jpg"))) == 10
    with pytest.raises(ExecutionError, match="no 'xyz' to choose from"):
        export(segmented, tmp_path / "other", "xyz")
    with pytest.raises(ExecutionError, match="no 'mistakes' to choose from"):
        views(segmented, "mistakes")


def test_delegated(segmented, tmp_path):
    compare, views, export = (foo.get_operator(uri) for uri in (COMPARE, VIEWS, EXPORT))
    compare(segmented, "revseg", "second", delegate=True)
    views(segmented, "no target", delegate=True)
    export(segmented[:2], tmp_path / "out", delegate=True)
    assert not segmented.has_field("revseg_vs_second")
    assert not (tmp_path / "out").exists()
    service = DelegatedOperationService()
    service.execute_queued_operations(dataset_name=segmented.name)
    states = [
        operation.run_state for operation in service.list_operations(dataset_name=segmented.name)
    ]
    assert states == ["completed"] * 3
    segmented.reload()
    assert segmented.values("revseg_vs_second")[0] == pytest.approx(0.9)
    assert sorted(segmented.list_saved_views()) == [
        "revseg no target",
        "revseg_vs_second disagreement",
    ]
    exported = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert len(exported["videos"]) == 2


@pytest.mark.parametrize("operator", [Compare, Views, Export])
def test_stopped(segmented, tmp_path, monkeypatch, operator):
    """Asked to stop before the first video is done."""
    before = contents(segmented)
    monkeypatch.setattr(running, "_ASKED", 0)
    store = running._store(segmented)

    def stop(work):
        def stopped(report):
            for key in store.list_keys():
                store.set(key, {"title": "x", "stop": True})
            return work(report)

        return stopped

    stoppable = running.stoppable
    monkeypatch.setattr(
        running, "stoppable", lambda dataset, work, *args: stoppable(dataset, stop(work), *args)
    )
    params = {
        Compare: {"field_a": "revseg", "field_b": "second"},
        Views: {"name": "drift suspected", "label_field": "revseg"},
        Export: {"directory": str(tmp_path / "out")},
    }[operator]
    asked, result = shown_by(operator(), segmented, **params)
    assert result["state"] == "stopped"
    assert "set_view" not in asked
    assert contents(segmented) == before
    assert not (tmp_path / "out").exists()


WRONG = [
    (COMPARE, {"field_a": "none"}, "no 'none' to choose from: .*revseg"),
    (COMPARE, {"field_a": "revseg", "field_b": "revseg"}, "agrees with itself"),
    (COMPARE, {"name": "my field"}, "name of a field"),
    (COMPARE, {"name": "revseg_status"}, "something else already"),
    (VIEWS, {"name": "mistakes"}, "no 'mistakes' to choose from"),
    (VIEWS, {"label_field": "none"}, "no results in 'none'"),
    (VIEWS, {"name": "low confidence", "threshold": 5}, "from 0 to 1, not 5"),
    (EXPORT, {"format": "yolo", "directory": "{tmp}/out"}, "no 'yolo' to choose from"),
    (EXPORT, {"directory": "{tmp}/out", "label_field": "none"}, "no 'none' to choose from"),
    (EXPORT, {"directory": " "}, "Name the directory"),
    (EXPORT, {"directory": "{tmp}"}, "is not empty"),
    (EXPORT, {"directory": "{tmp}/file"}, "is a file"),
    (EXPORT, {"directory": "{tmp}/out", "images": True}, "has no pictures"),
]


@pytest.mark.parametrize(("uri", "params", "message"), WRONG)
def test_wrong_forms_say_one_thing_and_change_nothing(segmented, tmp_path, uri, params, message):
    (tmp_path / "file").write_text("x")
    texts = (str, lambda text: text.format(tmp=tmp_path))
    params = {k: texts[1](v) if isinstance(v, texts[0]) else v for k, v in params.items()}
    before = contents(segmented)
    with pytest.raises(ExecutionError, match=message):
        execute(uri, segmented, **params)
    operator = foo.get_operator(uri)
    properties = form(operator, segmented, **params)
    wrong = [p.error_message for p in properties.values() if p.invalid]
    assert len(wrong) == 1
    segmented.reload()
    assert contents(segmented) == before
    assert segmented.list_saved_views() == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("uri", [COMPARE, VIEWS, EXPORT])
def test_collections_without_results_say_what_to_do(make_dataset, dataset, tmp_path, uri):
    params = {"directory": str(tmp_path / "out")} if uri == EXPORT else {}
    with pytest.raises(ExecutionError, match="segment"):
        execute(uri, dataset, **params)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    images = make_dataset(fo.Sample(str(tmp_path / "a.png")))
    with pytest.raises(ExecutionError, match="segment"):
        execute(uri, images, **params)
    assert not (tmp_path / "out").exists()
