"""The loader: every way to load a model, and one clear sentence where it fails."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
import torch
import transformers
from nbclient import NotebookClient
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models

import utils
from selftests import REPOSITORY
from utils import ModelError, models

BOS = "<|endoftext|>"
GPT2_BOS_ID = 50256
REVISION = "0123456789" * 4

NOTE = "Model: ioi-mini, the small model built into this workbook.\nThe weights of gpt2-small are not in"
CLOSED_PORT = "http://127.0.0.1:9"
HUB_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "TRANSFORMERS_OFFLINE")


@pytest.fixture(autouse=True)
def keep_model_in_use(monkeypatch) -> Iterator[None]:
    """Restore the model in use and the number of threads for the other test modules."""
    monkeypatch.setattr(models, "_in_use", models._in_use)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run_python(script: str, **environment: str) -> tuple[dict, str]:
    """Run a script in a fresh interpreter, for huggingface_hub reads its environment once, at import.

    `IOI_MODEL` and the hub's variables are those of `environment`, or unset. Returns the script's output: its last line
    as JSON, and the lines before it.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("IOI_MODEL", *HUB_VARIABLES)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=kept | {"IOI_DEVICE": "cpu"} | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *before, last = done.stdout.splitlines()
    return json.loads(last), "\n".join(before)


def assert_one_sentence(message: str, *words: str) -> None:
    """Assert that a message is one sentence in one line and contains the words."""
    assert "\n" not in message
    assert message[0].isupper() or message.startswith(("'", "/", "transformer_lens ", *words))
    assert message.endswith(".")
    assert len(message) < 500
    for word in words:
        assert word in message


# A GPT-2 of full size in a Hugging Face cache

# The prompts and answers of notebook 02's aside, which runs on gpt2-small only.
HOUSES = ["The White House is where the president", "The Haunted House is where the ghosts"]


def save_gpt2_tokenizer(folder: Path) -> None:
    """Write a byte-level BPE in GPT-2's two files, in which every word of the prompts is one token."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=2000, min_frequency=1, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*utils.PROMPTS, *HOUSES], trainer)
    tokenizer.model.save(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8")) | {BOS: GPT2_BOS_ID}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1024}', encoding="utf-8")


def randomize_(model: torch.nn.Module) -> torch.nn.Module:
    """Randomize gains and biases, which transformers initializes to 1 and 0."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight += 0.1 * torch.randn_like(weight)
    return model


@pytest.fixture(scope="session")
def gpt2_cache(tmp_path_factory) -> Iterator[Path]:
    """A Hugging Face home whose cache holds a random model of gpt2-small's size under gpt2-small's name."""
    home = tmp_path_factory.mktemp("gpt2")
    fill_cache(home)
    yield home
    shutil.rmtree(home)  # 500 MB that pytest would retain for three more runs


def fill_cache(home: Path, **config) -> None:
    """Fill the cache of a Hugging Face home with a random model under gpt2-small's name."""
    repository = home / "hub" / "models--openai-community--gpt2"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Weights this large make most patches change the metric by far more than the tolerance.
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(initializer_range=0.08, **config))
        randomize_(model).save_pretrained(snapshot)
    save_gpt2_tokenizer(snapshot)


@pytest.fixture(scope="session")
def gpt2_cache_of_old_name(gpt2_cache, tmp_path_factory) -> Path:
    """The same cache, as a download of "gpt2" fills it."""
    hub = tmp_path_factory.mktemp("gpt2-old-name") / "hub"
    hub.mkdir()
    (hub / "models--gpt2").symlink_to(gpt2_cache / "hub" / "models--openai-community--gpt2")
    return hub.parent


DESCRIBE_GPT2 = """
import json, torch, transformers, utils
from utils.models import find_model_folder
model = utils.load_model()
data = utils.load_ioi(model)
hf_model = transformers.AutoModelForCausalLM.from_pretrained(find_model_folder("gpt2-small"))
with torch.no_grad():
    expected = hf_model(data.clean_tokens[:1]).logits.log_softmax(-1)
print(json.dumps({
    "layers, heads, width": [model.cfg.n_layers, model.cfg.n_heads, model.cfg.d_model],
    "in_use": utils.model_in_use() is model,
    "dtypes": sorted({str(weight.dtype) for weight in model.parameters()}),
    "training": model.training or any(module.training for module in model.modules()),
    "requires_grad": any(weight.requires_grad for weight in model.parameters()),
    "logits_require_grad": model(data.clean_tokens[:1]).requires_grad,
    "error": (model(data.clean_tokens[:1]).log_softmax(-1) - expected).abs().max().item(),
    "layer_norm_gains": "blocks.0.ln1.w" in model.state_dict(),
    "str_tokens": data.str_tokens[0],
    "shape": list(data.clean_tokens.shape),
}))
"""


@pytest.fixture(scope="session")
def gpt2_facts(gpt2_cache) -> dict:
    facts, printed = run_python(DESCRIBE_GPT2, HF_HOME=str(gpt2_cache), HF_HUB_OFFLINE="1")
    return facts | {"printed": printed}


def test_gpt2_small_is_chosen_without_a_name_and_loads_from_the_cache_without_a_network(gpt2_facts):
    assert gpt2_facts["layers, heads, width"] == [12, 12, 768]
    assert gpt2_facts["in_use"]
    assert gpt2_facts["printed"] == "Model: gpt2-small, on cpu."


def test_gpt2_small_is_float32_in_evaluation_mode_without_gradients(gpt2_facts):
    assert gpt2_facts["dtypes"] == ["torch.float32"]
    assert not gpt2_facts["training"]
    assert not gpt2_facts["requires_grad"]
    assert not gpt2_facts["logits_require_grad"]


def test_gpt2_small_predicts_what_transformers_predicts(gpt2_facts):
    assert gpt2_facts["error"] < 1e-3


def test_gpt2_small_reads_the_prompts_as_15_tokens(gpt2_facts):
    assert gpt2_facts["shape"] == [8, 15]
    assert gpt2_facts["str_tokens"] == utils.published_results()["str_tokens_prompt_0"]


LOAD_WITHOUT_A_NAME = """
import json, utils
model = utils.load_model()
print(json.dumps({"width": model.cfg.d_model, "same": utils.model_in_use() is model}))
"""


@pytest.mark.slow
def test_without_a_name_gpt2_small_is_chosen_when_it_is_cached_under_its_old_name(gpt2_cache_of_old_name):
    facts, printed = run_python(LOAD_WITHOUT_A_NAME, HF_HOME=str(gpt2_cache_of_old_name), HF_HUB_OFFLINE="1")
    assert facts == {"width": 768, "same": True}
    assert printed == "Model: gpt2-small, on cpu."


PATCH_GPT2 = """
import json, sys, torch, utils
from pathlib import Path
from transformer_lens import patching
from tests.checks.notebooks import read_functions
learner = read_functions(Path("solutions/activation_patching/02_residual_stream.ipynb")).names
model = learner["model"]
data = utils.load_ioi(model, utils.PROMPTS[:2], utils.ANSWERS[:2])
clean_tokens, corrupted_tokens = data.clean_tokens[:, 8:], data.corrupted_tokens[:, 8:]  # S2 and what is around it
_, clean_cache = model.run_with_cache(clean_tokens)
arguments = (model, corrupted_tokens, clean_cache, utils.make_ioi_metric(model, data))
expected = patching.get_act_patch_resid_pre(*arguments)
actual = learner["get_act_patch_resid_pre"](*arguments)
torch.testing.assert_close(actual, expected)
effects = (expected[:, 2:].abs() > 0.01).float().mean().item()
print(json.dumps({"shape": list(actual.shape), "width": model.cfg.d_model, "effects": effects}))
"""


@pytest.mark.slow
def test_the_solutions_sweep_on_gpt2_small_equals_transformer_lens(gpt2_cache):
    # The notebook's setup cell loads the model that the environment names.
    facts, _ = run_python(PATCH_GPT2, IOI_MODEL="gpt2-small", HF_HOME=str(gpt2_cache), HF_HUB_OFFLINE="1")
    assert facts["width"] == 768
    assert facts["shape"] == [12, 7]
    assert facts["effects"] > 0.8


ASIDE_ON_THE_HOUSES = """
import json, nbformat, utils
from pathlib import Path
from tests.checks.notebooks import read_functions
file = Path("solutions/activation_patching/02_residual_stream.ipynb")
(aside,) = [cell.source for cell in nbformat.read(file, as_version=4).cells if cell.id == "knowledge"]
shown = []
utils.imshow = lambda tensor, **labels: shown.append([list(tensor.shape), len(labels["x"])])
exec(aside, read_functions(file).names)
print(json.dumps({"shown": shown}))
"""


@pytest.mark.slow
def test_the_aside_on_the_two_houses_runs_on_gpt2_small(tmp_path):
    fill_cache(tmp_path, n_layer=2)  # its 252 runs take a minute at full size
    facts, printed = run_python(ASIDE_ON_THE_HOUSES, IOI_MODEL="gpt2-small", HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    shutil.rmtree(tmp_path)
    assert facts["shown"] == [[[3, 2, 7], 7]]
    assert "president" in printed
    assert "ghosts" in printed


# No network, nothing in the cache

LOAD_AND_TIME = """
import json, os, time, utils
answer = {}
def load(key, name):
    start = time.monotonic()
    try:
        answer[key] = utils.load_model(name).cfg.d_model
    except utils.ModelError as error:
        answer[key] = str(error)
    answer[f"{key} took"] = time.monotonic() - start
for name in json.loads(os.environ["NAMES"]):
    load(str(name), name)
if "PINNED" in os.environ:
    os.environ["IOI_MODEL"] = os.environ["PINNED"]
    load("pinned", None)
print(json.dumps(answer))
"""


@pytest.fixture
def breaking_hub() -> Iterator[str]:
    """The address of a server that describes a model once and then drops every connection."""
    descriptions = [json.dumps({"id": "openai-community/gpt2", "siblings": [{"rfilename": "config.json"}]}).encode()]

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if descriptions and self.path.startswith("/api/models/"):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(descriptions.pop())
            self.close_connection = True

        def log_message(self, *arguments) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def silent_hub() -> Iterator[str]:
    """The address of a server that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def load_without_hub(tmp_path: Path, names: list[str | None], endpoint: str, **environment: str) -> tuple[dict, str]:
    return run_python(
        LOAD_AND_TIME, NAMES=json.dumps(names), HF_HOME=str(tmp_path / "empty"), HF_ENDPOINT=endpoint, **environment
    )


@pytest.fixture(scope="module")
def closed_hub(tmp_path_factory) -> tuple[dict, str]:
    """Results of loading where the hub refuses the connection."""
    names = [None, "gpt2-small", "missing/model", "./missing", "missing/much/deeper"]
    return load_without_hub(tmp_path_factory.mktemp("closed"), names, CLOSED_PORT, PINNED="gpt2-small")


def ioi_mini_width() -> int:
    return json.loads((models.IOI_MINI_FOLDER / "config.json").read_text(encoding="utf-8"))["n_embd"]


def test_without_network_and_name_ioi_mini_is_loaded_with_a_note(closed_hub):
    answer, printed = closed_hub
    assert answer["None"] == ioi_mini_width()
    assert printed.startswith(NOTE)


def test_without_network_gpt2_small_by_name_is_an_error(closed_hub):
    answer, _ = closed_hub
    assert_one_sentence(answer["gpt2-small"], "gpt2-small", "connect to", 'load_model("ioi-mini")')


@pytest.mark.parametrize("name", ["missing/model", "./missing", "missing/much/deeper"])
def test_a_relative_path_that_does_not_exist_is_an_error(name, closed_hub):
    answer, _ = closed_hub
    assert_one_sentence(answer[name], name)


@pytest.mark.slow
def test_a_hub_that_never_answers_does_not_hang_the_loader(tmp_path, silent_hub):
    answer, printed = load_without_hub(tmp_path, [None, "gpt2-small"], silent_hub)
    assert answer["None"] == ioi_mini_width()
    assert printed.startswith(NOTE)
    assert_one_sentence(answer["gpt2-small"], "gpt2-small")
    assert answer["None took"] < 20
    assert answer["gpt2-small took"] < 20


@pytest.mark.slow
def test_a_hub_that_drops_the_connection_is_an_error(tmp_path, breaking_hub):
    answer, _ = load_without_hub(tmp_path, ["gpt2-small"], breaking_hub)
    assert_one_sentence(answer["gpt2-small"], "gpt2-small")


def test_a_model_pinned_by_the_environment_is_never_replaced(closed_hub):
    answer, _ = closed_hub
    assert_one_sentence(answer["pinned"], "gpt2-small")


@pytest.mark.slow
def test_an_incomplete_download_is_not_loaded(tmp_path):
    repository = tmp_path / "empty" / "hub" / "models--openai-community--gpt2"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    transformers.GPT2Config().save_pretrained(snapshot)
    answer, printed = load_without_hub(tmp_path, [None, "gpt2-small"], CLOSED_PORT)
    assert answer["None"] == ioi_mini_width()
    assert printed.startswith(NOTE)
    assert_one_sentence(answer["gpt2-small"], "gpt2-small")


# Valid and invalid folders


@pytest.fixture(scope="session")
def word_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A tokenizer in one file, in which every word of the prompts is one token."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(min_frequency=1, special_tokens=[BOS], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(utils.PROMPTS, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=BOS, unk_token=BOS)


def save(model: transformers.PreTrainedModel, tokenizer: transformers.PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def good_folder(tmp_path, word_tokenizer) -> Path:
    config = transformers.GPT2Config(
        vocab_size=len(word_tokenizer), n_layer=2, n_head=2, n_embd=16, n_positions=32, bos_token_id=0, eos_token_id=0
    )
    return save(transformers.GPT2LMHeadModel(config), word_tokenizer, tmp_path / "tiny-gpt2")


def refusal(name: str | Path, device: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        utils.load_model(name, device)
    return str(caught.value)


def test_a_good_folder_loads(good_folder):
    model = utils.load_model(good_folder, device="cpu")
    assert model.cfg.n_layers == 2
    assert model(utils.load_ioi(model).clean_tokens).shape == (8, 15, model.cfg.d_vocab)


def test_loading_writes_nothing_to_stderr(good_folder, capfd):
    utils.load_model(good_folder, device="cpu")
    out, err = capfd.readouterr()
    note, *about_heads = out.splitlines()
    assert note == f"Model: {good_folder}, on cpu."
    assert "This model has 2 layers of 2 heads;" in about_heads[0]
    assert err == ""


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    assert_one_sentence(refusal(tmp_path / "missing"), str(tmp_path / "missing"))


def test_an_empty_folder_is_an_error(tmp_path):
    assert_one_sentence(refusal(tmp_path), str(tmp_path), "config.json")


@pytest.mark.parametrize("content", ["{not JSON", "", "[1, 2]", '"gpt2"'])
def test_an_invalid_configuration_is_an_error(content, good_folder):
    (good_folder / "config.json").write_text(content)
    assert_one_sentence(refusal(good_folder), str(good_folder), "config.json")


def test_a_configuration_of_an_unknown_model_is_an_error(good_folder):
    (good_folder / "config.json").write_text('{"architectures": ["UnheardOfForCausalLM"], "model_type": "unheard-of"}')
    assert_one_sentence(refusal(good_folder), str(good_folder))


@pytest.mark.parametrize("kept", [0, 4, 0.5, -1])
def test_truncated_weights_are_an_error(kept, good_folder):
    file = good_folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept) if 0 < kept < 1 else kept])
    assert_one_sentence(refusal(good_folder), str(good_folder))


def test_missing_weights_are_an_error(good_folder):
    (good_folder / "model.safetensors").unlink()
    assert_one_sentence(refusal(good_folder), str(good_folder))


def test_missing_tensors_are_an_error(good_folder):
    file = good_folder / "model.safetensors"
    tensors = load_file(file)
    save_file({name: tensors[name] for name in sorted(tensors)[::2]}, file, metadata={"format": "pt"})
    assert_one_sentence(refusal(good_folder), str(good_folder), "are incomplete (15 tensors")


def test_tensors_of_another_shape_are_an_error(good_folder):
    config = json.loads((good_folder / "config.json").read_text())
    (good_folder / "config.json").write_text(json.dumps(config | {"n_embd": 24}))
    assert_one_sentence(refusal(good_folder), str(good_folder))


def test_a_folder_without_tokenizer_is_an_error(good_folder):
    for file in good_folder.glob("tokenizer*"):
        file.unlink()
    assert_one_sentence(refusal(good_folder), str(good_folder), "tokenizer")


def test_an_encoder_is_an_error(tmp_path, word_tokenizer):
    config = transformers.BertConfig(
        vocab_size=len(word_tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    folder = save(transformers.BertForMaskedLM(config), word_tokenizer, tmp_path / "bert")
    assert_one_sentence(refusal(folder), str(folder), "BertForMaskedLM", "causal language model")


def test_an_encoder_decoder_is_an_error(tmp_path, word_tokenizer):
    config = transformers.T5Config(
        vocab_size=len(word_tokenizer), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    folder = save(transformers.T5ForConditionalGeneration(config), word_tokenizer, tmp_path / "t5")
    assert_one_sentence(refusal(folder), str(folder), "T5ForConditionalGeneration", "causal language model")


def absent_device() -> str:
    return "cuda" if torch.backends.mps.is_available() else "mps"


def test_an_unavailable_device_is_an_error(good_folder):
    assert_one_sentence(refusal(good_folder, absent_device()), absent_device(), "cpu")


def test_an_unavailable_device_from_the_environment_is_an_error(good_folder, monkeypatch):
    monkeypatch.setenv("IOI_DEVICE", absent_device())
    assert_one_sentence(refusal(good_folder), absent_device(), "cpu")


@pytest.mark.parametrize("device", ["gpu", "cpu:one", "cpu:"])
def test_an_invalid_device_is_an_error(device, good_folder):
    assert_one_sentence(refusal(good_folder, device), f"This machine has no device {device!r}")


@pytest.mark.parametrize("name", ["gpt2 small", "a/b/c", "~/missing", "x" * 100])
def test_an_invalid_name_is_an_error(name):
    assert_one_sentence(refusal(name), name)


def tiny_neox(d_vocab: int) -> transformers.PreTrainedModel:
    config = transformers.GPTNeoXConfig(
        vocab_size=d_vocab, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
    )
    return transformers.GPTNeoXForCausalLM(config)


def tiny_llama(d_vocab: int) -> transformers.PreTrainedModel:
    """A model with fewer key and value heads than query heads."""
    config = transformers.LlamaConfig(
        vocab_size=d_vocab,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=32,
    )
    return transformers.LlamaForCausalLM(config)


@pytest.mark.parametrize("build", [tiny_neox, tiny_llama])
def test_another_causal_language_model_loads_and_predicts_the_same(
    build: Callable, tmp_path, word_tokenizer: transformers.PreTrainedTokenizerFast
):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hf_model = randomize_(build(len(word_tokenizer))).eval()
    folder = save(hf_model, word_tokenizer, tmp_path / "model")
    model = utils.load_model(folder, device="cpu")
    tokens = utils.load_ioi(model).clean_tokens
    assert model.cfg.n_layers == 3
    with torch.no_grad():
        expected = hf_model(tokens).logits.log_softmax(dim=-1)
    torch.testing.assert_close(model(tokens).log_softmax(dim=-1), expected, rtol=0, atol=1e-4)


# Which model is in use


def test_model_in_use_is_the_last_one_loaded(good_folder, monkeypatch):
    monkeypatch.delenv("IOI_MODEL", raising=False)
    first = utils.load_model(good_folder)
    assert utils.model_in_use() is first
    second = utils.load_model(good_folder)
    assert utils.model_in_use() is second is not first


def test_the_environment_sets_the_model_in_use(good_folder, monkeypatch):
    monkeypatch.setenv("IOI_MODEL", str(good_folder))
    other = utils.load_model("ioi-mini")
    pinned = utils.model_in_use()
    assert pinned is not other
    assert pinned.cfg.n_layers == 2
    assert utils.model_in_use() is pinned


def test_the_environment_sets_the_default_of_load_model(good_folder, monkeypatch, capsys):
    monkeypatch.setenv("IOI_MODEL", str(good_folder))
    assert utils.load_model().cfg.n_layers == 2
    assert capsys.readouterr().out.startswith(f"Model: {good_folder}")


def test_a_preloaded_model_is_returned_once(good_folder, monkeypatch, capsys):
    monkeypatch.delenv("IOI_MODEL", raising=False)
    models.preload_model(good_folder, "cpu")
    assert capsys.readouterr().out == ""
    (preloaded,) = models._preloaded.values()
    loaded = utils.load_model(good_folder, "cpu")
    assert loaded is preloaded and models.model_in_use() is preloaded
    assert f"Model: {good_folder}, on cpu." in capsys.readouterr().out
    another = utils.load_model(good_folder, "cpu")
    assert another is not preloaded and not models._preloaded
    tokens = torch.arange(5)[None]
    assert torch.equal(another(tokens), preloaded(tokens))


def test_a_preloaded_model_is_returned_under_its_name_only(good_folder, monkeypatch):
    models.preload_model(good_folder, "cpu")
    (preloaded,) = models._preloaded.values()
    assert utils.load_model("ioi-mini", "cpu") is not preloaded
    monkeypatch.setenv("IOI_MODEL", str(good_folder))
    assert utils.load_model(device="cpu") is preloaded


def test_a_load_that_fails_leaves_the_model_in_use(good_folder, tmp_path, monkeypatch):
    monkeypatch.delenv("IOI_MODEL", raising=False)
    model = utils.load_model(good_folder)
    refusal(tmp_path / "missing")
    assert utils.model_in_use() is model


# What the reader sees


def test_a_notebook_shows_an_error_as_its_sentence_only():
    cell = nbformat.v4.new_code_cell('import utils\nutils.load_model("no such model")')
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(
        notebook, timeout=120, allow_errors=True, resources={"metadata": {"path": str(REPOSITORY)}}
    ).execute()
    (output,) = (output for output in cell.outputs if output.output_type == "error")
    assert output.ename == "ModelError"
    assert output.traceback == [f"ModelError: {output.evalue}"]
    assert_one_sentence(output.evalue, "no such model")


def test_the_spin_count_is_set_before_pytorch_is_imported():
    """PyTorch reads it once, when it is loaded: where it cannot be, the setting is there already."""
    script = """
import json, os, sys
os.environ.pop("GOMP_SPINCOUNT", None)
sys.modules["torch"] = None
try:
    import utils
except ImportError as error:
    print(json.dumps({"stopped at": error.name, "set": os.environ.get("GOMP_SPINCOUNT") == "4000"}))
"""
    assert run_python(script)[0] == {"stopped at": "torch", "set": True}
