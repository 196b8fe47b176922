"""Chat templates: what reaches for Python's internals is found however it is spelt; what models ship is left alone."""

from __future__ import annotations

import json
import sys

import pytest
from model_files import look, rules

from antivenom.scan import Limits, Status
from antivenom.scan.findings import FileReport

# Written after the shapes of published templates: ChatML, Llama 3 with tools, Mistral, Qwen 3 with thinking, Gemma.
HARMLESS = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "llama": "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}"
    "{%- set messages = messages[1:] %}{%- endif %}{%- for t in tools %}{{- t | tojson(indent=4) }}{%- endfor %}"
    "{%- for message in messages %}{%- if message.tool_calls|length != 1 %}{{- raise_exception('one tool') }}{%- endif %}"
    "{%- set tool_call = message.tool_calls[0].function %}{%- for arg_name, arg_val in tool_call.arguments | items %}"
    "{{- arg_name + '=\"' + arg_val + '\"' }}{%- if not loop.last %}{{- ', ' }}{%- endif %}{%- endfor %}{%- endfor %}",
    "mistral": "{%- set loop_messages = messages %}{%- set user_messages = loop_messages | selectattr('role', 'equalto', 'user') "
    "| list %}{%- set ns = namespace(index=0) %}{%- for message in loop_messages %}{%- if (message['role'] == 'user') != "
    "(ns.index % 2 == 0) %}{{- raise_exception('roles must alternate') }}{%- endif %}{%- set ns.index = ns.index + 1 %}"
    "{{- user_messages[ns.index - 1]['content'] }}{%- endfor %}",
    "qwen": "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}{%- for message in messages[::-1] %}"
    "{%- set index = (messages|length - 1) - loop.index0 %}{%- if messages[index].role == 'user' and not("
    "message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}"
    "{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}{%- for message in messages %}{%- set content = message.content %}"
    "{%- if '</think>' in message.content %}{%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{%- if loop.index0 > ns.last_query_index %}{{- '<|im_start|>' + message.role + '\\n' + content }}{%- endif %}{%- endfor %}",
    "training": "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% if loop.last %}{% break %}{% endif %}"
    "{% endfor %}",
    "macro": "{%- macro describe(properties, key) -%}{{ properties[key].type | upper }}{%- endmacro -%}"
    "{%- for name, schema in tool.parameters.properties | dictsort %}{{ describe(tool.parameters.properties, name) }}{%- endfor -%}",
    "seen": "{%- set seen = namespace(names=[]) %}{%- for tool in tools %}{%- set first = tool.name.split('.')[0] %}"
    "{%- set seen.names = seen.names + [first] %}{%- endfor %}{%- for name in seen.names %}{{ descriptions[name] }}{%- endfor %}",
}

HARMFUL = [
    "{{ cycler.__init__.__globals__.os.name }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ ''['__cl'~'ass__'] }}",
    "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ ''['__ssalc__'[::-1]] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ''|attr(['_','_','class','_','_']|join) }}",
    "{{ ''['%cclass'%95] }}",
    "{{ [''] | map(attribute='__class__') | list }}",
    "{{ [''] | map('attr', '__class__') | list }}",
    "{{ [''] | groupby('__class__') | list }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ ('{0._' ~ 'x}').format(1) }}",
    "{% include '/etc/passwd' %}",
    "{{ self._TemplateReference__context }}",
    "{{ dict.mro() }}",
    "{{ g.gi_frame.f_globals }}",
    "{% set a='__cl' %}{% set b='ass__' %}{{ ''[a+b] }}",
    "{% set k %}{{ '_' }}{{ '_class__' }}{% endset %}{{ ''[k] }}",
    "{% set d={'a':'__cl'~'ass__'} %}{{ ''[d.a] }}",
    "{% set ns=namespace(k=1) %}{% set ns.k='_'~'_class__' %}{% set m=ns %}{{ ''[m.k] }}",
    "{% macro m(o,k) %}{{ o[k] }}{% endmacro %}{{ m('', '__cl'~'ass__') }}",
    "{% macro range(x) %}{{ '_' }}_class__{% endmacro %}{{ ''[range(1)] }}",
    "{% for k in ['__cl'~'ass__'] %}{{ ''[k] }}{% endfor %}",
    "{% with k='__cl'~'ass__' %}{{ ''[k] }}{% endwith %}",
    "{% set parts = [] %}{% set _ = parts.append('__cl' ~ 'ass__') %}{{ ''[parts[0]] }}",
    "{% set a = b %}{% set a = '_'~'_class__' %}{% set b = a %}{{ ''[b] }}",
    "{% set k = dict(__class__=1)|list|first %}{{ ''[k] }}",
    "{{ ''[(messages[0].content ~ messages[1].content)] }}",
    "{{ ''[messages | map('join') | first] }}",
    "{% filter attr('__class__') %}x{% endfilter %}",
]


def tokenizer(template: object) -> FileReport:
    return look(json.dumps({"model_max_length": 4096, "chat_template": template}).encode())


@pytest.mark.parametrize("name", list(HARMLESS))
def test_shapes_of_published_templates_are_safe(name: str) -> None:
    assert tokenizer(HARMLESS[name]).findings == ()
    assert look(HARMLESS[name].encode()).status is Status.SAFE


@pytest.mark.parametrize("template", HARMFUL)
def test_every_way_to_an_attribute_of_python_is_found(template: str) -> None:
    report = tokenizer(template)
    assert report.status is Status.UNSAFE
    assert "template" in rules(report)


def test_the_harmful_ones_reach_python_in_an_environment_without_a_sandbox() -> None:
    """The samples are no straw men: most of them print a class or a global when they are rendered."""
    import jinja2

    environment, reached = jinja2.Environment(), 0
    for template in HARMFUL:
        try:
            shown = environment.from_string(template).render(messages=[{"content": "__cl"}, {"content": "ass__"}])
        except (jinja2.TemplateError, TypeError, AttributeError):
            continue
        reached += any(mark in shown for mark in ("<class", "<module", "posix"))
    assert reached >= 25


def test_named_templates_and_files_of_their_own() -> None:
    evil = HARMFUL[0]
    assert rules(tokenizer([{"name": "default", "template": HARMLESS["chatml"]}, {"name": "rag", "template": evil}]))
    assert "template" in rules(look(evil.encode()))
    assert look(b"Write {{ user.name }} and {% if x %}y{% endif %} into the card.").status is Status.SAFE


def test_a_template_that_does_not_parse_is_not_safe() -> None:
    assert rules(tokenizer("{% for m in messages %}")) == ["malformed"]
    assert rules(tokenizer("{% nosuchtag %}{{ ''.__class__ }}")) == ["template"]


def test_without_jinja_nothing_is_called_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    from antivenom.scan.formats import templates

    templates._environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert rules(tokenizer(HARMLESS["chatml"])) == ["no-parser"]
    assert rules(tokenizer(HARMFUL[0])) == ["template"]


def test_nesting_and_length_end_at_a_limit() -> None:
    assert rules(tokenizer("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}")) == ["limit"]
    chain = "".join(f"{{% set a{i} = a{i + 1} %}}" for i in range(3000)) + "{% set a3000 = 'x' ~ 'y' %}{{ ''[a0] }}"
    report = look(json.dumps({"chat_template": chain}).encode(), limits=Limits(opcodes=200_000))
    assert report.status is not Status.SAFE
