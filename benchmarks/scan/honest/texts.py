"""Libraries for texts and time."""

from __future__ import annotations

import functools
from typing import Any

Objects = dict[str, Any]
SENTENCES = [["red", "wine", "is", "good"], ["blue", "cheese", "is", "bad"], ["red", "cheese", "is", "good"]] * 4


def gensim() -> Objects:
    from gensim.corpora import Dictionary
    from gensim.models import Doc2Vec, FastText, LdaModel, LsiModel, Phrases, TfidfModel, Word2Vec
    from gensim.models.doc2vec import TaggedDocument
    from gensim.similarities import MatrixSimilarity

    small: dict[str, Any] = {"vector_size": 4, "min_count": 1, "workers": 1}
    words = Word2Vec(SENTENCES, **small)
    dictionary = Dictionary(SENTENCES)
    bags = [dictionary.doc2bow(s) for s in SENTENCES]
    tagged = [TaggedDocument(s, [i]) for i, s in enumerate(SENTENCES)]
    return {
        "word2vec.model": lambda path: words.save(str(path)),
        "word2vec.pkl": lambda: words,
        "vectors.kv": lambda path: words.wv.save(str(path)),
        "fasttext.model": lambda path: FastText(SENTENCES, bucket=50, **small).save(str(path)),
        "doc2vec.model": lambda path: Doc2Vec(tagged, **small).save(str(path)),
        "dictionary.dict": lambda path: dictionary.save(str(path)),
        "lda.model": lambda path: LdaModel(bags, 2, id2word=dictionary).save(str(path)),
        "lsi.pkl": lambda: LsiModel(bags, 2, id2word=dictionary),
        "tfidf.pkl": lambda: TfidfModel(bags),
        "phrases.pkl": lambda: Phrases(SENTENCES, min_count=1),
        "similarity.pkl": lambda: MatrixSimilarity(bags, num_features=len(dictionary)),
    }


def spacy() -> Objects:
    import spacy as sp
    from spacy.tokens import DocBin
    from spacy.training import Example

    plain = sp.blank("en")
    category = sp.blank("en")
    labels = category.add_pipe("textcat")
    labels.add_label("good")
    labels.add_label("bad")
    example = Example.from_dict(category.make_doc("red wine"), {"cats": {"good": 1.0, "bad": 0.0}})
    category.initialize(lambda: [example])
    ruler = sp.blank("de")
    ruler.add_pipe("entity_ruler").add_patterns([{"label": "DRINK", "pattern": "wine"}])

    def to_disk(model: Any, path: Any) -> None:
        """A folder, of which the files are scanned one by one."""
        model.to_disk(path)

    return {
        "blank": functools.partial(to_disk, plain),
        "textcat": functools.partial(to_disk, category),
        "ruler": functools.partial(to_disk, ruler),
        "bytes.spacy-bytes": lambda path: path.write_bytes(category.to_bytes()),
        "docs.spacy": lambda path: DocBin(docs=[plain("red wine")]).to_disk(path),
        "vocab.pkl": lambda: plain.vocab,
        "doc.pkl": lambda: plain("red wine"),
        "model.pkl": lambda: category,
        "strings.pkl": lambda: plain.vocab.strings,
    }


def sentencepiece() -> Objects:
    import sentencepiece as spm

    def train(kind: str, path: Any) -> None:
        texts = iter([" ".join(s) + f" {i}" for i, s in enumerate(SENTENCES)])
        with open(path, "wb") as out:
            spm.SentencePieceTrainer.train(
                sentence_iterator=texts,
                model_writer=out,
                vocab_size=32,
                model_type=kind,
                hard_vocab_limit=False,
                minloglevel=2,
            )

    return {f"{kind}.model": functools.partial(train, kind) for kind in ("unigram", "bpe", "char", "word")}


def tokenizers() -> Objects:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    def trained(model: Any, trainer: Any) -> Any:
        found = Tokenizer(model)
        found.pre_tokenizer = pre_tokenizers.Whitespace()
        found.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        found.train_from_iterator([" ".join(s) for s in SENTENCES], trainer)
        return found

    bpe = trained(models.BPE(unk_token="[U]"), trainers.BpeTrainer(vocab_size=40, special_tokens=["[U]"]))
    piece = trained(models.WordPiece(unk_token="[U]"), trainers.WordPieceTrainer(vocab_size=40, special_tokens=["[U]"]))
    gram = trained(models.Unigram(), trainers.UnigramTrainer(vocab_size=40))
    piece.post_processor = processors.TemplateProcessing(single="[U] $A", special_tokens=[("[U]", 0)])
    return {
        "bpe.json": lambda path: bpe.save(str(path)),
        "piece.json": lambda path: piece.save(str(path)),
        "unigram.json": lambda path: gram.save(str(path)),
        "bpe.pkl": lambda: bpe,
        "piece.pkl": lambda: piece,
        "encoding.pkl": lambda: bpe.encode("red wine"),
    }


def prophet() -> Objects:
    import pandas as pd
    from prophet import Prophet
    from prophet.serialize import model_to_json

    table = pd.DataFrame({"ds": pd.date_range("2020-01-01", periods=60), "y": [float(i % 7) for i in range(60)]})
    return {
        "fitted.pkl": lambda: Prophet().fit(table),
        "fitted.json": lambda path: path.write_text(model_to_json(Prophet().fit(table))),
        "unfitted.pkl": lambda: Prophet(weekly_seasonality=True),
        "forecast.pkl": lambda: Prophet().fit(table).predict(table[["ds"]]),
    }


LIBRARIES = {
    "gensim": gensim,
    "spacy": spacy,
    "sentencepiece": sentencepiece,
    "tokenizers": tokenizers,
    "prophet": prophet,
}
