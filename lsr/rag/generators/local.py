"""A causal language model of transformers, from a folder."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Any

from lsr.errors import GeneratorError, InvalidInput, MissingExtra, one_line
from lsr.rag.generators.base import Message, Reply, Request
from lsr.rag.generators.texts import until, without_thoughts
from lsr.rag.types import Failure, Usage

__all__ = ["LocalModel"]


class LocalModel:
    """A model that transformers opens as AutoModelForCausalLM, with its own chat template where it has one.

    folder: of the model. gguf_file: the name of a GGUF file in it, which is read instead (needs the packages gguf and
    accelerate; its numbers are expanded to float32). device: "cpu", "cuda", ...; None takes a GPU if there is one.
    precision: "fp32", "bf16" or "fp16"; None is fp32 on the CPU, bf16 on a GPU. batch: requests of temperature 0 at a
    time. Others are written one by one, each from a state of chance that `seed` and the request give, so that no text
    depends on its company. context: tokens that it reads and writes at most; what its settings say when None.

    The model is opened when it is first used. Names of special tokens in messages, with which a text could end its message
    and begin another, are broken up by a character of no width.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        gguf_file: str | None = None,
        device: str | None = None,
        precision: str | None = None,
        batch: int = 4,
        context: int | None = None,
        seed: int = 0,
    ) -> None:
        self.folder, self.gguf_file = Path(folder), gguf_file
        if not self.folder.is_dir():
            raise InvalidInput(f"{folder}: there is no such folder of a language model")
        if gguf_file is not None and not (self.folder / gguf_file).is_file():
            raise InvalidInput(f"{self.folder / gguf_file}: there is no such file")
        if batch < 1:
            raise InvalidInput(f"batch is {batch}: it must be 1 or more")
        self.name = gguf_file or self.folder.resolve().name
        self.seed, self.batch = seed, batch
        self._device, self._precision, self._context = device, precision, context
        self._turn = threading.RLock()
        self._model: tuple[Any, Any, int | None] | None = None

    @property
    def context(self) -> int | None:
        return self._context if self._context is not None else self._opened[2]

    def identity(self) -> Mapping[str, Any]:
        return {"kind": "local", "model": self._fingerprint, "seed": self.seed, "precision": self._precision}

    def check(self) -> None:
        """Opens the model. Raises `GeneratorError`, `MissingExtra`."""
        _ = self._opened

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """As `Generator.generate`. Raises as `check` does."""
        with self._turn:
            return self._written(requests)

    def _written(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        texts = [self._prompt(request.messages) for request in requests]
        lengths = [len(ids) for ids in self._ids(texts)]
        results: dict[int, Reply | Failure] = {}
        fitting = []
        for at, (request, length) in enumerate(zip(requests, lengths, strict=True)):
            if self.context is not None and length >= self.context:
                message = (
                    f"{self.name}: the prompt has {length:,} tokens, it reads {self.context:,}; give it less context"
                )
                results[at] = Failure("", message)
            else:
                room = request.max_tokens if self.context is None else min(request.max_tokens, self.context - length)
                fitting.append((at, replace(request, max_tokens=room), texts[at]))
        for group in _batches(fitting, lengths, self.batch):
            replies = self._batch([request for _, request, _ in group], [text for _, _, text in group])
            results.update((at, reply) for (at, _, _), reply in zip(group, replies, strict=True))
        return [results[at] for at in range(len(requests))]

    def _batch(self, requests: Sequence[Request], texts: Sequence[str]) -> list[Reply | Failure]:
        """Replies to requests of one temperature and the same stops."""
        import torch

        tokenizer, model, _ = self._opened
        began = perf_counter()
        first = requests[0]
        settings: dict[str, Any] = {
            "max_new_tokens": max(request.max_tokens for request in requests),
            "do_sample": False,
        }
        if first.temperature > 0:
            settings |= {"do_sample": True, "temperature": first.temperature, "top_p": 1.0, "top_k": 0}
        if first.stop:
            settings |= {"stop_strings": list(first.stop), "tokenizer": tokenizer}
        read = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=self._bare).to(model.device)
        read.pop("token_type_ids", None)
        try:
            with torch.inference_mode(), torch.random.fork_rng(enabled=first.temperature > 0):
                if first.temperature > 0:
                    torch.manual_seed(self._chance(first))
                written = model.generate(**read, **settings, pad_token_id=tokenizer.pad_token_id)
        except torch.OutOfMemoryError:
            message = f"{self.name}: no memory left on {model.device} for {len(texts)} texts; lower batch or context"
            return [Failure("", message, usage=Usage(calls=1)) for _ in requests]
        seconds = (perf_counter() - began) / len(requests)
        start = read["input_ids"].shape[1]
        return [
            self._reply(request, written[row, start:].tolist(), int(read["attention_mask"][row].sum()), seconds)
            for row, request in enumerate(requests)
        ]

    def _reply(self, request: Request, ids: list[int], tokens_in: int, seconds: float) -> Reply | Failure:
        tokenizer, model, _ = self._opened
        ends = model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        size = next((at + 1 for at, id in enumerate(ids) if id in ends), len(ids))
        # A request of a batch may write for longer than it asked for.
        size = min(size, request.max_tokens)
        ended = size > 0 and ids[size - 1] in ends
        said = tokenizer.decode(ids[:size], skip_special_tokens=True)
        text, stopped = until(without_thoughts(said), request.stop)
        usage = Usage(1, tokens_in, size, 0.0, seconds)
        return Reply(text.strip(), usage, cut=not (ended or stopped))

    def _prompt(self, messages: Sequence[Message]) -> str:
        tokenizer = self._opened[0]
        names = sorted({str(t) for t in tokenizer.added_tokens_decoder.values() if t.special}, key=len, reverse=True)
        chat = []
        for message in messages:
            content = message.content
            for name in names:
                content = content.replace(name, f"{name[0]}\u200b{name[1:]}") if len(name) > 1 else content
            chat.append({"role": message.role, "content": content})
        if self._bare:
            return "\n\n".join(part["content"] for part in chat) + "\n\n"
        try:
            return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # whatever the template raises: some know no system message
            if chat[0]["role"] != "system" or len(chat) < 2:
                raise GeneratorError(f"{self.folder}: its chat template fails ({one_line(error)})") from None
        chat[1]["content"] = f"{chat[0]['content']}\n\n{chat[1]['content']}"
        try:
            return str(tokenizer.apply_chat_template(chat[1:], tokenize=False, add_generation_prompt=True))
        except Exception as error:
            raise GeneratorError(f"{self.folder}: its chat template fails ({one_line(error)})") from None

    @property
    def _bare(self) -> bool:
        """Whether it has no chat template, so that nothing puts the special tokens in."""
        return self._opened[0].chat_template is None

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._opened[0](list(texts), add_special_tokens=self._bare) if texts else {"input_ids": []}
        return list(encoded["input_ids"])

    def _chance(self, request: Request) -> int:
        messages = [[message.role, message.content] for message in request.messages]
        said = json.dumps([self.seed, messages, request.max_tokens, request.temperature, request.stop])
        return int.from_bytes(hashlib.sha256(said.encode()).digest()[:7], "big")

    @cached_property
    def _fingerprint(self) -> str:
        """A hash of the files of the model, and of its chat templates."""
        try:
            from lsr.encoders.libraries import fingerprint
        except ImportError:
            raise MissingExtra("torch", "torch", "a local model as generator") from None
        if self.gguf_file is not None:
            with (self.folder / self.gguf_file).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        templates = b"\0".join(path.read_bytes() for path in sorted(self.folder.rglob("*.jinja")))
        return hashlib.sha256(fingerprint(self.folder).encode() + templates).hexdigest()

    @property
    def _opened(self) -> tuple[Any, Any, int | None]:
        """Tokenizer, model, and how many tokens it reads."""
        with self._turn:
            if self._model is None:
                self._model = self._open()
            return self._model

    def _open(self) -> tuple[Any, Any, int | None]:
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError:
            raise MissingExtra("transformers", "torch", "a local model as generator") from None
        from lsr.encoders.libraries import checked_device, number_type, reported

        device = checked_device(self._device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = number_type(self._precision, device)
        which: dict[str, Any] = {"gguf_file": self.gguf_file} if self.gguf_file else {}
        which |= {"local_files_only": True}
        try:
            with reported():
                tokenizer = AutoTokenizer.from_pretrained(self.folder, padding_side="left", **which)
                model, about = AutoModelForCausalLM.from_pretrained(self.folder, output_loading_info=True, **which)
        except Exception as error:  # of any of the libraries beneath it
            remedy = "copy the whole folder of a causal language model"
            if self.gguf_file:
                remedy = "pip install gguf accelerate, or copy the file again"
            raise GeneratorError(
                f"{self.folder}: transformers cannot open it ({one_line(error)[:300]}); {remedy}"
            ) from None
        # What the file lacks was made up by chance.
        if missing := sorted(map(str, about["missing_keys"])):
            raise GeneratorError(
                f"{self.folder}: its weights lack {', '.join(missing[:3])}: it is no causal language model"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        longest = getattr(model.config, "max_position_embeddings", None)
        return tokenizer, model.to(device, dtype).eval(), longest


def _batches(
    requests: Sequence[tuple[int, Request, str]], lengths: Sequence[int], most: int
) -> Iterator[list[tuple[int, Request, str]]]:
    """Requests that can be written together, of similar lengths: those of temperature 0 with the same stops."""

    def alike(one: tuple[int, Request, str]) -> Any:
        at, request, _ = one
        return request.temperature, request.stop, at if request.temperature > 0 else -1

    for _, group in groupby(sorted(requests, key=lambda one: (alike(one), lengths[one[0]])), key=alike):
        members = list(group)
        for start in range(0, len(members), most):
            yield members[start : start + most]
