"""Whether a series description or a file name says that contrast agent was given."""

from __future__ import annotations

import re
import unicodedata

YES, NO, WEAK, UNCLEAR, SILENT = "yes", "no", "weak", "unclear", ""
"""Given; not given; only the word contrast; both or either; nothing about it."""

_ENDING = re.compile(r"(\.(nii|img|hdr|dcm|ima|mgz|mgh|gz))+$")

_WITHOUT = r"without|w/o|w\\o|wo|ohne|sin|sans|senza|zonder|utan|uten|uden|sem|bez|non?|pre|vor|before|avant"
_WITH = r"with|w/?|mit|avec|con|met|med|com|post|nach|after|apres"
_AND = r"(?:\s*(?:and|und|et|e|y|en|oder|or|&|/|,|\+)\s*|\s*)"

_REWRITTEN = [(re.compile(pattern), new) for pattern, new in (
    (r"\b(?:w\s*/\s*w/?o|w/?wo|wwo)\b", " both "),
    (rf"(?<![a-z0-9])(?:(?:{_WITH}){_AND}(?:{_WITHOUT})|(?:{_WITHOUT}){_AND}(?:{_WITH}))(?![a-z0-9])", " both "),
    (r"(?<![a-z0-9])w\s?[/\\]\s?o(?![a-z0-9])", " without "),
    (r"(?<![a-z0-9])w[.\s_]?o\.?(?=[\s_]?(?:c|gd|gad\w*|km|contrast\w*)(?![a-z0-9]))", " without "),
    (r"(?<![a-z0-9])o\.?\s?(?=km(?![a-z0-9]))", " without "),
    (r"(?<![a-z0-9])m\.?\s?(?=km(?![a-z0-9]))", " with "),
    (r"(?<![a-z0-9])w\s?/", " with "),
    # A minus follows a space or ends a word; between two words a hyphen only separates them, but "t1-c" may be either.
    (r"(?<=[a-z0-9])-c(?![a-z0-9+-])", " unclearc "),
    (r"(?:^|(?<=[\s_(]))-\s?(?:c|gd|gad|km|ce|contrast)(?![a-z0-9])", " minusc "),
    (r"(?<![a-z0-9])(?:c|gd|gad|km|ce|contrast)\s?-(?=[\s_).]|$)", " minusc "),
    (r"\+\s?(?:c|gd\w*|gad\w*|km|ce|contrast)(?![a-z0-9])|(?<![a-z0-9])(?:c|gd|gad|km|ce|contrast)\s?\+", " plusc "),
    # What "post" and "pre" mean besides contrast, and contrast besides an agent.
    (r"post[\s_-]*(?:op|operat\w*|surg\w*|resect\w*|rt|radi\w*|treat\w*|ther\w*|chemo\w*|biops\w*|rx|proc\w*)"
     r"(?![a-z0-9])", " postop "),
    (r"pre[\s_-]*(?:op|operat\w*|surg\w*|resect\w*|rt|radi\w*|treat\w*|ther\w*|chemo\w*|biops\w*|rx|sat\w*)(?![a-z0-9])",
     " "),
    (r"(?:high|low|phase|transfer|tissue|image|gr[ae]y|best|optimal|optimi[sz]ed|inverse)[\s_-]*contrast\w*", " "),
    # Words that are written as one.
    (r"(without|with|non|no|pre|post|ohne|mit)[\s_-]*(contrast\w*|kontrast\w*|gad\w*|gd|km)(?![a-z0-9])", r" \1 \2 "),
    (r"(?<![a-z])t1w?[\s_.]*(ce|c|gd|gad\w*|post|pre|km|contrast|n|nativ\w*)(?![a-z0-9+])", r" t1 \1after "),
)]  # fmt: skip

_AFTER = {"cafter": "ce", "nafter": "native"}

_NEGATION = frozenset((
    *("without", "non", "no", "not", "pre", "ohne", "sin", "sans", "senza", "zonder", "utan", "uten", "uden", "sem"),
    *("bez", "vor", "before", "avant", "kein", "keine", "wo"),
))  # fmt: skip
_AFFIRMATION = frozenset(
    {"with", "post", "mit", "avec", "con", "met", "med", "com", "nach", "after", "apres", "dopo", "tras"}
)
_FILLING = frozenset(
    {"iv", "i", "v", "the", "di", "de", "du", "mezzo", "produit", "any", "agent", "medio", "inj", "injection"}
)
_AGENT = re.compile(
    r"gd|gd(dtpa|dota|bt|btdo3a)|gad\w*|km|ce|pdc|mdc|civ|dotarem|magnevist|prohance|multihance|omniscan|clariscan"
    r"|vueway|elucirem|primovist|ablavar|injected|injecte"
)
_WORD = re.compile(r"[ck]ontrast\w*|enhanced|injection")
_BEFORE = re.compile(r"nativ\w*|natif|unenhanced|nonenhanced|basal[e]?|minusc|nongad\w*|plain")
_NONE_FOLLOWS = frozenset({"free", "no", "none", "nein", "negative", "neg", "minus"})


def plain_text(text: str) -> str:
    """Return a text in lower case, without accents and endings of files."""
    spaced = re.sub(r"(?<=[a-z])(?=T[12])", " ", text)  # AxT1, but not patient1
    bare = "".join(c for c in unicodedata.normalize("NFKD", spaced) if not unicodedata.combining(c))
    return _ENDING.sub("", bare.lower().strip())


def agent_in_text(text: str) -> str:
    """Return what a description or name says about contrast agent: one of the constants above.

    ``post op`` and the like are unclear: scans after surgery are usually made with and without.
    """
    words = plain_text(text)
    for pattern, new in _REWRITTEN:
        words = pattern.sub(new, words)
    tokens = [_AFTER.get(token, token.removesuffix("after")) for token in re.findall(r"[a-z0-9]+", words)]
    found = {meaning for place in range(len(tokens)) if (meaning := _meaning(tokens, place))}
    if "both" in tokens or "unclearc" in tokens or {YES, NO} <= found:
        return UNCLEAR
    for meaning in (YES, NO, WEAK):
        if meaning in found:
            return meaning
    return UNCLEAR if "postop" in tokens else SILENT


def _meaning(tokens: list[str], place: int) -> str:
    """Return what one word says about contrast agent, with the words around it."""
    token = tokens[place]
    if token == "plusc":
        return YES
    if _BEFORE.fullmatch(token):
        return NO
    word, agent = _WORD.fullmatch(token), _AGENT.fullmatch(token)
    if not (word or agent):
        after = tokens[place + 1] if place + 1 < len(tokens) else ""
        alone = not (_WORD.fullmatch(after) or _AGENT.fullmatch(after) or after in _FILLING)
        return (YES if token == "post" else NO) if token in ("post", "pre") and alone else SILENT
    if place + 1 < len(tokens) and tokens[place + 1] in _NONE_FOLLOWS:
        return NO
    before = next((other for other in reversed(tokens[:place]) if other not in _FILLING), "")
    if before in _NEGATION:
        return NO
    return YES if agent or before in _AFFIRMATION else WEAK
