#!/usr/bin/env python3
"""Writes chat/cases.jsonl: templates, variables, and the text (or that there is an error) that Jinja gives.

Needs transformers 5.23 and Jinja 3.1.6, which it asks to render every case in the environment that
apply_chat_template uses. The clock stands at 1700000000 (UTC). A case whose result depends on the process, such
as the address of an object, must not be added.

    python make_chat_cases.py chat
"""
import datetime
import json
import os
import sys
import time

os.environ["TZ"] = "UTC"
time.tzset()
import transformers.utils.chat_template_utils as chat  # noqa: E402


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(1700000000, tz)


chat.datetime = FixedClock

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name"},
                "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
                "days": {"type": "array", "items": {"type": "integer"}},
                "where": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
            },
            "required": ["city"],
        },
    },
}

VARIABLES = {
    "n": 7,
    "f": 2.5,
    "s": "Hello, World",
    "u": "Grüße, 世界 🙂",
    "empty": "",
    "lines": "one\n two\n\nthree\n",
    "html": "<b class=\"x\">Tom & 'Jerry'</b>",
    "yes": True,
    "no": False,
    "nothing": None,
    "xs": [3, 1, 2],
    "words": ["banana", "Apple", "cherry", "apple"],
    "nested": [[1, 2], [3, [4, 5]], []],
    "d": {"b": 2, "a": 1, "C": 3},
    "keys": {"items": 1, "keys": 2, "_p": 3, "get": 4},
    "people": [
        {"name": "Ann", "age": 31, "city": "Rome", "tags": ["x", "y"]},
        {"name": "bob", "age": 25, "city": "Oslo", "tags": []},
        {"name": "Cid", "age": 31, "city": "rome"},
    ],
    "tree": [{"v": 1, "c": [{"v": 2, "c": [{"v": 3, "c": []}]}, {"v": 4, "c": []}]}, {"v": 5, "c": []}],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello", "reasoning_content": "hm"},
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image"}]},
    ],
    "tools": [TOOL],
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
}

# One template a line; they see VARIABLES.
LINES = r'''
{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }}
{{ 7 / 2 }} {{ 6 / 2 }} {{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 2 ** -1 }} {{ 2.0 ** 3 }} {{ 4 ** 0.5 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 1.0 / 0 }}
{{ 0 ** -1 }}
{{ 1_000 + 0x1F + 0b101 + 0o17 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 1e16 }} {{ 123456789012345680.0 }} {{ 0.1 + 0.2 }} {{ 1e22 }} {{ 5e-324 }}
{{ 1.0 }} {{ 100.0 }} {{ 1e15 }} {{ 0.0001 }} {{ 0.00001 }} {{ -0.0 }} {{ 1e100 }} {{ 3.14159 }}
{{ true }} {{ True }} {{ false }} {{ none }} {{ None }} {{ true + 1 }} {{ true == 1 }} {{ -true }} {{ +false }}
{{ 'a' 'b' "c" }} {{ 'a' ~ 1 ~ none ~ 2.0 ~ [1] }} {{ 'ab' * 3 }} {{ 2 * 'ab' }} {{ 'x' * -1 }} {{ [1, 2] * 2 }} {{ (1,) * 2 }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ [1] + (2,) }}
{{ 'a' - 'b' }}
{{ none + 1 }}
{{ [1] + [2] }} {{ (1,) + (2,) }} {{ 'a' + 'b' }} {{ {'a': 1} }} {{ [] }} {{ () }} {{ {} }} {{ (1,) }} {{ (1, 2) }} {{ 1, 2 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 == 2 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ 'B' < 'a' }} {{ [1, 2] < [1, 3] }} {{ (1, 'a') < (2, 0) }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ {} < {} }}
{{ [1] < (1,) }}
{{ [1] == [1.0] }} {{ [1] == (1,) }} {{ {'a': 1} == {'a': True} }} {{ none == false }} {{ '' == none }} {{ undef == none }} {{ undef == undef2 }} {{ undef != 1 }}
{{ 1 in [1, 2] }} {{ 'a' in 'abc' }} {{ '' in 'abc' }} {{ 'a' in d }} {{ 'z' not in d }} {{ 3 in range(5) }} {{ 1 in undef }} {{ [1, 2] in nested }}
{{ 1 in 'abc' }}
{{ 1 in 5 }}
{{ none in none }}
{{ [1] in d }}
{{ not 1 }} {{ not '' }} {{ not [] }} {{ not not 'x' }} {{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ '' or none }} {{ 1 or 1 / 0 }} {{ 0 and 1 / 0 }}
{{ 'yes' if yes else 'no' }} {{ 'a' if no }} {{ ('a' if no) is defined }} {{ 'a' if no else 'b' if no else 'c' }} {{ 1 if (2 if 0 else 3) else 4 }} {{ 1 if 0 if 2 }}|
{{ 1 if 2 if 0 else 3 else 4 }}
{{ s[0] }} {{ s[-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ s[-3:] }} {{ s[:-3] }} {{ s[::2] }} {{ s[10:2:-2] }} {{ s[100:] }}| {{ u[2:5] }} {{ u[-1] }} {{ u[::-1] }}
{{ xs[0] }} {{ xs[-1] }} {{ xs[1:] }} {{ xs[::-1] }} {{ xs[5] }}|{{ xs[5] is defined }} {{ (1, 2, 3)[1:] }} {{ range(10)[2:8:2] }} {{ range(10)[-1] }} {{ range(5)[::-1]|list }}
{{ s['x'] }}|{{ d['a'] }} {{ d.a }} {{ d['zz'] }}|{{ d.zz is defined }} {{ d['zz'] is defined }} {{ xs['0'] }}|{{ xs.0 }} {{ nested.1.1.0 }} {{ nested[1][1][0] }}
{{ xs['a':] }}
{{ xs[::0] }}
{{ d[1:] }}
{{ n[0] }}|{{ n.foo }}|{{ none.foo }}|{{ none[0] }}|{{ (1).foo is defined }}
{{ undef.foo }}
{{ undef['foo'] }}
{{ undef() }}
{{ undef + 1 }}
{{ undef }}|{{ undef ~ 'x' }}|{{ undef|length }}|{{ undef|list }}|{{ undef|join(',') }}|{{ undef|upper }}|{{ [undef] }}|{{ undef|default('d') }}|{{ undef or 'o' }}
{{ d.undef.foo }}
{{ -undef }}
{{ undef < 1 }}
{{ undef|int }}
{{ undef|tojson }}
{{ [undef]|tojson }}
{{ undef|first is defined }} {{ undef|last is defined }} {{ undef|sum }} {{ undef|string == '' }} {{ undef|trim }} {{ undef|reverse|list }} {{ undef|items|list }} {{ undef|map('upper')|list }}
{{ keys.items is callable }}|{{ keys['items'] }}|{{ keys['keys'] }}|{{ keys._p }}|{{ keys['_p'] }}|{{ keys['get'] }}|{{ keys.get('items') }}|{{ keys.get('zz') }}|{{ keys.get('zz', 5) }}
{{ d.keys()|list }} {{ d.values()|list }} {{ d.items()|list }} {{ d.items() }} {{ d.keys() }} {{ d.values() }} {{ d|list }} {{ d|length }} {{ d.items()|length }}
{{ d.__class__ }}|{{ s.__class__ }}|{{ s.__len__ }}|{{ s._x }}
{{ ''.__class__.__mro__ }}
{{ xs.append(1) }}
{{ d.update({}) }}
{{ d.pop('a') }}
{{ xs.append is defined }} {{ xs.index is defined }} {{ xs.nope is defined }} {{ d.clear is defined }}
{{ xs.index(2) }} {{ xs.count(1) }} {{ (1, 1, 2).count(1) }} {{ (1, 2).index(2) }} {{ xs.copy() }}
{{ xs.index(9) }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ s.swapcase() }} {{ s.casefold() }} {{ 'they\'re bill\'s'.title() }} {{ 'straße ΣΑΣ'.upper() }} {{ 'ΣΑΣ'.lower() }} {{ 'ǆ'.title() }}
{{ 'Straße ΑΣ'.casefold() }} {{ 'ﬃ ŉ İ ǰ'.casefold() }}
{{ '  a b '.strip() }}|{{ '  a '.lstrip() }}|{{ ' a  '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xyaxy'.lstrip('yx') }}|{{ 'a\u00a0'.strip() }}|{{ 'ab'.strip('') }}|{{ 'ab '.strip(none) }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.rsplit(' ', 1) }} {{ 'a b c'.split(maxsplit=1) }} {{ '  a b  c '.split(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ '  a b c '.rsplit(none, 1) }} {{ 'a-b'.split(sep='-') }}
{{ 'a'.split('') }}
{{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ 'a\n'.splitlines(keepends=true) }} {{ 'a b c'.partition(' ') }} {{ 'a b c'.rpartition(' ') }} {{ 'abc'.partition('x') }} {{ 'abc'.rpartition('x') }}
{{ s.startswith('He') }} {{ s.endswith('ld') }} {{ s.startswith(('x', 'H')) }} {{ s.startswith('l', 2) }} {{ s.endswith('H', 0, 1) }} {{ s.startswith('', 100) }} {{ s.startswith('') }}
{{ s.startswith(1) }}
{{ s.startswith(['H']) }}
{{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('zz') }} {{ s.index('W') }} {{ s.find('o', 5) }} {{ s.count('l') }} {{ s.count('') }} {{ u.find('世') }} {{ u.index('🙂') }} {{ 'aaa'.count('aa') }} {{ 'abc'.find('c', -1) }} {{ 'abc'.find('', 3) }} {{ 'abc'.find('', 4) }}
{{ s.index('zz') }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('', '-', 2) }} {{ 'aa'.replace('a', '') }}
{{ ','.join(['a', 'b']) }} {{ ','.join('abc') }} {{ ''.join([]) }} {{ ', '.join(d) }}
{{ ','.join([1]) }}
{{ 'ab'.zfill(5) }} {{ '-5'.zfill(4) }} {{ 'a'.center(4) }}| {{ 'ab'.center(5) }}| {{ 'a'.ljust(3, '.') }} {{ 'a'.rjust(3) }} {{ 'a'.center(4, '*') }} {{ 'a\tb'.expandtabs(4) }}
{{ '12'.isdigit() }} {{ '1a'.isdigit() }} {{ ''.isdigit() }} {{ 'ab'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'aB'.islower() }} {{ 'AB1'.isupper() }} {{ 'Ab Cd'.istitle() }} {{ '²'.isdigit() }} {{ '½'.isnumeric() }} {{ '²'.isdecimal() }} {{ 'a_1'.isidentifier() }} {{ 'é'.isascii() }} {{ 'a\n'.isprintable() }}
{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removeprefix('x') }}
{{ '{} {}'.format(1, 'a') }} {{ '{0} {1} {0}'.format('a', 'b') }} {{ '{a} {b!r}'.format(a=1, b='x') }} {{ '{:>5}|{:<5}|{:^5}'.format('a', 'b', 'c') }} {{ '{:05d} {:+d} {:,}'.format(42, 42, 1234567) }} {{ '{:.2f} {:e} {:%}'.format(3.14159, 12345.678, 0.5) }} {{ '{{}}'.format() }} {{ '{0[a]} {0.a}'.format(d) }} {{ '{:x} {:#x} {:b} {:o} {:X}'.format(255, 255, 5, 8, 255) }} {{ '{:*^9}'.format('mid') }} {{ '{:{}}|'.format('a', 4) }}
{{ '{:05}|{:>05}|{:*<05}'.format('ab', 'ab', 'ab') }} {{ '{:<06}|{:^06}|{:>06}|{:06}|{:x=06}'.format(-7, -7, -7, -7, -7) }} {{ '{:<06}'.format(2.5) }} {{ '{:07,}|{:08,}|{:09,}|{:010,.2f}|{:#011_x}|{:06,}'.format(7, 7, -7, -7, 255, 1234567) }} {{ '{:0=9,}|{:*=9,}|{:012,}'.format(7, 7, 1e22) }}
{{ '{} {1}'.format(1, 2) }}
{{ '{}'.format() }}
{{ '{a}'.format(b=1) }}
{{ '{'.format() }}
{{ '{:d}'.format('a') }}
{{ '{0.__class__}'.format(1) }}
{{ '%s and %s' % ('a', 1) }} {{ '%d%%' % 5 }} {{ '%05.2f' % 3.14159 }} {{ '%(a)s' % d }} {{ '%r' % 'x' }} {{ '%5s|%-5s|' % ('a', 'b') }} {{ '%x %X %o' % (255, 255, 8) }} {{ '%s' % none }} {{ '%s' % [1, 'a'] }} {{ '%c' % 65 }} {{ '%e' % 1234.5 }} {{ '%g' % 0.00001 }} {{ '%+d % d' % (1, 2) }} {{ '%.3s' % 'abcdef' }} {{ '%*d' % (5, 42) }} {{ '%s' % undef }} {{ '%#x' % 255 }} {{ '%i' % 3.7 }}
{{ '%s %s' % 'a' }}
{{ '%s' % ('a', 'b') }}
{{ 'abc' % 1 }}
{{ '%d' % 'a' }}
{{ '%(x)s' % d }}
{{ 'a' is string }} {{ 1 is number }} {{ 1.0 is float }} {{ 1 is integer }} {{ true is integer }} {{ true is number }} {{ true is boolean }} {{ none is none }} {{ d is mapping }} {{ xs is sequence }} {{ xs is iterable }} {{ s is iterable }} {{ s is sequence }} {{ n is iterable }} {{ d is sequence }} {{ range is callable }} {{ s is callable }} {{ undef is undefined }} {{ undef is iterable }} {{ undef is sequence }} {{ undef is callable }} {{ s.upper is callable }} {{ (xs|map('upper')) is sequence }} {{ (xs|map('upper')) is iterable }}
{{ 4 is even }} {{ 4 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 'a' is lower }} {{ 'A' is upper }} {{ '1' is lower }} {{ 1 is eq 1 }} {{ 1 is equalto 2 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is gt 1 }} {{ 1 is le 1 }} {{ 1 is ge 2 }} {{ 1 is in [1] }} {{ 1 is not in [1] }} {{ 'a' is not string }} {{ none is sameas none }} {{ 1 is sameas true }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ true is true }} {{ 1 is true }} {{ false is false }}
{{ 1 is == 1 }}
{{ 1 is sameas 1 }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ s|e is escaped }} {{ s is escaped }} {{ 3 is not odd }} {{ not 3 is odd }} {{ 5 is greaterthan 3 }} {{ 5 is lessthan 3 }}
{{ 'a' is even }}
{{ 1 is nosuchtest }}
{{ 1|nosuchfilter }}
{{ 1 is divisibleby }}
{{ 1 is defined is defined }}
{{ -5|abs }} {{ 5.5|abs }} {{ true|abs }} {{ (-3.5)|abs }}
{{ 'a'|abs }}
{{ s|attr('upper') is callable }} {{ d|attr('a') is defined }} {{ people[0]|attr('name') }}|
{{ xs|batch(2)|list }} {{ xs|batch(2, 0)|list }} {{ range(7)|batch(3)|map('list')|list }} {{ []|batch(2)|list }}
{{ xs|slice(2)|list }} {{ range(7)|slice(3)|list }} {{ range(7)|slice(3, 'x')|list }} {{ xs|slice(5)|list }}
{{ 'hello wORLD'|capitalize }} {{ 'hello-world (foo) bar'|title }} {{ s|upper }} {{ s|lower }} {{ 5|upper }} {{ none|upper }} {{ 'ab'|center(6) }}| {{ 'a\'b'|title }}
{{ xs|count }} {{ xs|length }} {{ s|length }} {{ u|length }} {{ d|count }} {{ range(4)|length }}
{{ 5|length }}
{{ none|length }}
{{ (xs|map('string'))|length }}
{{ none|default('x') }} {{ none|default('x', true) }} {{ ''|d('x') }} {{ ''|d('x', boolean=true) }} {{ undef|d }}| {{ undef.x|d('x') if false }} {{ 0|default(1, true) }} {{ undef|default(default_value='q') }}
{{ d|dictsort }} {{ d|dictsort(true) }} {{ d|dictsort(false, 'value') }} {{ d|dictsort(by='value', reverse=true) }} {{ d|dictsort(case_sensitive=true, reverse=true) }}
{{ d|dictsort(by='x') }}
{{ xs|dictsort }}
{{ html|e }} {{ html|escape }} {{ html|e|e }} {{ html|forceescape }} {{ html|e|forceescape }} {{ 5|e }} {{ (html|safe)|e }} {{ html|safe }} {{ [html|safe] }}
{{ ('<a>'|e) + '<b>' }} {{ '<a>' + ('<b>'|safe) }} {{ ('<a>'|safe) ~ '<b>' }} {{ ('%s'|safe) % '<x>' }} {{ ('{}'|safe).format('<x>') }} {{ ('<'|safe).join(['>', 'b']) }} {{ (' <a> '|safe).strip() + '<' }} {{ ('a'|safe).replace('a', '<') }}
{{ xs|first }} {{ xs|last }} {{ s|first }} {{ s|last }} {{ []|first is defined }} {{ d|first }} {{ d|last }} {{ range(3)|last }}
{{ (xs|map('string'))|last }}
{{ 5|first }}
{{ '3.5'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 3|float }} {{ '1e3'|float }} {{ ' 2 '|float }} {{ none|float }} {{ 'inf'|float }} {{ 'nan'|float }} {{ '1_0'|float }} {{ '-.5'|float }}
{{ '42'|int }} {{ '42.9'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ '0x1f'|int(base=16) }} {{ '11'|int(0, 2) }} {{ 3.99|int }} {{ -3.99|int }} {{ true|int }} {{ none|int }} {{ ' 12 '|int }} {{ '1_000'|int }} {{ '0b11'|int(base=0) }} {{ []|int }} {{ '+5'|int }} {{ '--5'|int }} {{ ''|int }}
{{ '%s-%s'|format('a', 'b') }} {{ '%(x)s'|format(x=1) }} {{ 'a'|format }}
{{ '%s'|format }}
{{ people|groupby('city')|list }} {{ people|groupby('age')|map(attribute='grouper')|list }} {% for g, items in people|groupby('city') %}{{ g }}:{{ items|length }};{% endfor %} {% for x in people|groupby('age') %}{{ x.grouper }}={{ x.list|map(attribute='name')|join('+') }} {% endfor %}
{{ people|groupby('city', case_sensitive=true)|map('first')|list }} {{ people|groupby('tags', default=none)|length if false }} {{ people|groupby('zip', default='?')|map('first')|list }}
{{ lines|indent }}| {{ lines|indent(2, true) }}| {{ lines|indent(width=1, blank=true) }}| {{ lines|indent('> ', first=true) }}| {{ ''|indent(2, true) }}|
{{ 5|indent }}
{{ xs|join }} {{ xs|join('-') }} {{ people|join(', ', attribute='name') }} {{ d|join(',') }} {{ s|join('.') }} {{ [none, true, 1.5]|join(' ') }} {{ xs|join(0) }}
{{ 5|join }}
{{ s|list }} {{ d|list }} {{ range(3)|list }} {{ (1, 2)|list }}
{{ 5|list }}
{{ words|map('upper')|list }} {{ people|map(attribute='name')|list }} {{ people[:2]|map(attribute='tags.0')|list }} {{ people|map(attribute='tags', default=[])|list }} {{ xs|map('string')|join }} {{ words|map('replace', 'a', 'A')|list }} {{ words|map('truncate', length=4, end='')|list if false }} {{ [[1, 2], [3]]|map('sum')|list }} {{ nested|map('length')|list }} {{ none|map('upper')|list }} {{ words|map('default', 'x')|first }} {{ people|map(attribute='tags.0', default='-')|list }}
{{ people|map(attribute='tags.0')|list }}
{{ words|map('nosuch')|list }}
{{ words|map|list }}
{{ words|map(attr='x')|list }}
{{ words|map('nosuch') is defined }}
{{ xs|max }} {{ xs|min }} {{ words|max }} {{ words|min }} {{ words|min(true) }} {{ people|max(attribute='age') }} {{ []|max is defined }} {{ people|min(attribute='name') }}
{{ [1, 'a']|max }}
{{ xs|select('odd')|list }} {{ xs|reject('odd')|list }} {{ [0, 1, '', 'a']|select|list }} {{ [0, 1]|reject|list }} {{ xs|select('gt', 1)|list }} {{ xs|select('in', [1, 2])|list }} {{ xs|select('greaterthan', 1)|list }}
{{ people|selectattr('age', 'gt', 30)|map(attribute='name')|list }} {{ people|selectattr('tags')|list|length }} {{ people|rejectattr('tags')|map(attribute='name')|join(' ') }} {{ people|selectattr('tags', 'defined')|list|length }} {{ people|selectattr('name', 'equalto', 'Ann')|first }} {{ people|rejectattr('city', 'in', ['Rome'])|map(attribute='name')|list }} {{ messages|selectattr('role', '==', 'user')|list|length }}
{{ people|selectattr|list }}
{{ xs|select('nosuch')|list }}
{{ 'x' if messages|selectattr('role', 'equalto', 'nobody') else 'y' }} {{ 'x' if messages|selectattr('role', 'equalto', 'nobody')|list else 'y' }}
{% set g = xs|map('string') %}{{ g|join(',') }}|{{ g|join(',') }}|{% set h = xs|select %}{{ h|first }}{{ h|list }}
{{ xs|sort }} {{ xs|sort(true) }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ people|sort(attribute='age')|map(attribute='name')|list }} {{ people|sort(attribute='age,name', reverse=true)|map(attribute='name')|list }} {{ d|sort }} {{ [[2, 1], [1, 5]]|sort }} {{ [true, 0, 2]|sort }} {{ [{}, {}]|sort }}
{{ [1, 'a']|sort }}
{{ [none, 1]|sort }}
{{ [{'a': 1}, {'a': 2}]|sort }}
{{ xs|reverse|list }} {{ s|reverse }} {{ u|reverse }} {{ d|reverse|list }} {{ (1, 2)|reverse|list }} {{ range(3)|reverse|list }} {{ (xs|map('string'))|reverse }}
{{ 5|reverse }}
{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 7|round }} {{ 1234.5678|round(-2) }} {{ 2.1|round(0, 'ceil') }} {{ 2.9|round(method='floor') }} {{ 2.345|round(2, 'floor') }} {{ 15|round(-1) }} {{ 25|round(-1) }} {{ 0.5|round|int }} {{ true|round }} {{ 1e300|round(2) }}
{{ -0.2|round(0, 'ceil') }} {{ (-0.2)|round(0, 'ceil') }} {{ (-0.2)|round(0, 'floor') }} {{ (-0.2)|round }} {{ (-2.5)|round(method='ceil') }}
{{ 2.5|round(0, 'x') }}
{{ 'a'|round }}
{{ '<p>a <b>b</b>\n c</p><!-- x > y -->d &amp; &#65;'|striptags }}
{{ xs|sum }} {{ [1.5, 2]|sum }} {{ people|sum(attribute='age') }} {{ xs|sum(start=10) }} {{ [[1], [2]]|sum(start=[]) }} {{ []|sum }}
{{ words|sum }}
{{ d|tojson }} {{ people|tojson }} {{ s|tojson }} {{ u|tojson }} {{ u|tojson(ensure_ascii=true) }} {{ none|tojson }} {{ true|tojson }} {{ 1.0|tojson }} {{ html|tojson }} {{ '\n\t"\\\x01\x7f/'|tojson }} {{ (1, 2)|tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}
{{ d|tojson(indent=2) }} {{ nested|tojson(indent=1) }} {{ [] |tojson(indent=4) }} {{ {}|tojson(indent=4) }} {{ d|tojson(sort_keys=true) }} {{ d|tojson(separators=(',', ':')) }} {{ d|tojson(indent='\t') }} {{ d|tojson(false, 2, (', ', ' = '), true) }} {{ d|tojson(indent=0) }} {{ tools|tojson(indent=4) }}
{{ range(3)|tojson }}
{{ d.items()|tojson }}
{{ {(1, 2): 3}|tojson }}
{{ 'inf'|float|tojson }} {{ 'nan'|float|tojson }} {{ -('inf'|float)|tojson }} {{ 1e16|tojson }} {{ 1e-7|tojson }}
{{ '  x '|trim }}| {{ 'xxaxx'|trim('x') }} {{ 5|trim }} {{ '\n a\t'|trim }} {{ none|trim }}
{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz qux'|truncate(11) }} {{ 'foo bar baz qux'|truncate(11, false, '..', 0) }} {{ 'foobarbazqux'|truncate(5, end='') }} {{ 'a b'|truncate(3, leeway=0) }}
{{ 'a'|truncate(2) }}
{{ words|unique|list }} {{ words|unique(true)|list }} {{ [1, 1.0, true, 2]|unique|list }} {{ people|unique(attribute='age')|map(attribute='name')|list }}
{{ [[1], [1]]|unique|list }}
{{ 'a b/c?d=é&'|urlencode }} {{ {'a b': 'c/d', 'x': 1}|urlencode }} {{ [['a', 1], ['b', '&']]|urlencode }} {{ 5|urlencode }}
{{ 'Hello, big world! It\'s'|wordcount }} {{ ''|wordcount }} {{ 'é_1 b-c'|wordcount }}
{{ 'The quick brown fox jumps over the lazy dog'|wordwrap(15) }} {{ 'aaaaaaaaaaaaaaa bb'|wordwrap(5) }} {{ 'aaaaaaaaaa bb'|wordwrap(5, false) }} {{ 'well-known mother-in-law'|wordwrap(8) }} {{ 'a b\n\nc d e'|wordwrap(3, wrapstring='/') }} {{ 'well-known'|wordwrap(6, break_on_hyphens=false) }} {{ ' two a'|wordwrap(1) }}
{{ {'class': 'a b', 'id': none, 'x': '<'}|xmlattr }} {{ {'a': 1}|xmlattr(false) }} {{ {}|xmlattr }}|
{{ {'a b': 1}|xmlattr }}
{{ 1000|filesizeformat }} {{ 1|filesizeformat }} {{ 999|filesizeformat }} {{ 123456789|filesizeformat }} {{ 123456789|filesizeformat(true) }} {{ 2048|filesizeformat(true) }}
{{ d|items|list }} {{ {}|items|list }}
{{ xs|items|list }}
{{ s|replace('l', 'L') }} {{ s|replace('l', 'L', 1) }} {{ 123|replace(2, 'x') }} {{ s|replace('', '.') }}
{{ s|string }} {{ 5|string + 'a' }} {{ [1]|string }}
{{ range(3) }} {{ range(1, 4)|list }} {{ range(5, 0, -2)|list }} {{ range(0) }} {{ range(0, 10, 3) }} {{ range(3) == range(0, 3) }} {{ range(-3)|list }}
{{ range(100001) }}
{{ range(0, 10, 0) }}
{{ range('a') }}
{{ dict(a=1, b='x') }} {{ dict({'a': 1}, b=2) }} {{ dict([('a', 1), ['b', 2]]) }} {{ dict() }} {{ dict(d, a=9) }}
{{ dict(1) }}
{{ {'a': 1, 'a': 2} }} {{ {1: 'a', true: 'b', 1.0: 'c'} }} {{ {(1, 2): 3}[1, 2] }} {{ {none: 1}[none] }}
{{ {[1]: 2} }}
{{ namespace(a=1) }} {{ namespace({'x': 2}).x }} {{ namespace().y is defined }} {{ namespace(a=1)['a'] }}
{{ namespace(_a=1) }}
{{ namespace(a=1).a.b }}
{{ raise_exception('no ' ~ n) }}
{{ strftime_now('%Y-%m-%d %H:%M:%S') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%A, %B %-d, %Y') }} {{ strftime_now('') }}| {{ strftime_now('%%') }} {{ strftime_now('é %j') }} {{ strftime_now('%H%Z%z.%f|%%Z|%') }}
{{ strftime_now(5) }}
{{ ['it\'s', "say \"hi\"", 'both \' and "', 'new\nline', 'tab\t', 'nul\x00', 'é', '\u200b', '🙂', '\\', '\x7f', '\xa0', '\ud7ff'] }}
{{ 'a\qb' }} {{ '\x41\u00e9\U0001f642\101\60' }} {{ '\é' }} {{ "a'b" }} {{ 'a"b' }}
{{ '\ud800' }}
{{ '\x4' }}
{{ 'abc }}
{{ 1 + }}
{{ }}
{{ (1 }}
{{ [1, 2 }}
{{ 1 2 }}
{{ a b }}
{{ 'x'|upper('y') }}
{{ 'x'|replace('y') }}
{{ f(a=1, a=2) }}
{{ f(a=1, 2) }}
{{ xs[1, 2:3] }}
{{ xs[] }}|{{ [1, 2,] }} {{ {'a': 1,} }} {{ (1, 2,) }} {{ dict(a=1,) }}
{{ xs|join(*['-']) }} {{ '{} {}'.format(*[1, 2]) }} {{ dict(**{'a': 1}) }} {{ '{a}'.format(**d) }} {{ dict(b=2, **{'a': 1}) }}
{{ dict(a=1, **{'a': 2}) }}
{{ dict(*5) }}
{{ dict(**5) }}
{{ 1.__class__ }}
{{ 5 . real is defined }} {{ 2.5.is_integer() }} {{ (255).bit_length() }} {{ 2.0.is_integer() }}
{{ {'a': {'b': [10, 20]}}.a.b[-1] }} {{ [[1, 2], [3]][0][1] }} {{ ({'f': 'x'}).f }} {{ 'abc'[1]|upper }} {{ ('a', 'b')[1] }}
{{ {}.a is defined }} {{ d.a|string|length }} {{ -n|abs }} {{ (-n)|abs }} {{ n|string ~ n }} {{ not n == 7 }} {{ n == 7 and not no }} {{ n in [1, 7] and s is string }}
{{ s|upper|lower|title|replace('World', 'X') }} {{ xs|sort|join(',')|length }} {{ xs|map('string')|map('length')|sum }}
{{ loop }}|{{ loop is defined }} {{ (self is defined) if false }} {{ range is defined }} {{ caller is defined }} {{ varargs is defined }}
{% if 1 %}a{% elif 1 / 0 %}b{% else %}c{% endif %}{% if undef %}x{% endif %}{% if not undef %}y{% endif %}{% if [] %}x{% elif {} %}y{% else %}z{% endif %}
{% if no %}{{ 1|nosuch }}{% endif %}fine {{ 1|nosuch if no else 'ok' }} {% if no %}{{ 1 is nosuch }}{% endif %}
{% if no %}{% for x in xs %}{{ x|nosuch }}{% endfor %}{% endif %}
{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}
{% for x in xs %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}
{{ range(2, 20, 3).count(5) }} {{ range(9, 0, -2).index(3) }} {{ range(5).index(2.0) }} {{ range(5).count('a') }}
{{ range(9).index(11) }}
{{ '{0!a} {1!a}'.format(['é', '🙂', 'ÿ\\n'], 'é') }} {{ '%a' % ({'ü': '世'},) }}
{% for i in [1, 2, 3] %}{{ loop.changed(range) }}{% endfor %}
{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {{ loop.cycle('a', 'b') }} {% endfor %}
{% for x in xs %}{{ loop.cycle() }}{% endfor %}
{% for x in xs %}{{ loop.nope }}|{{ loop['index'] }}{{ loop|length }}{% endfor %}
{% for x in xs if x > 1 %}{{ x }}{{ loop.index }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}
{% for x in xs if x > 9 %}{{ x }}{% else %}none{% endfor %} {% for x in [] %}{% else %}empty{% endfor %} {% for x in undef %}{% else %}undef{% endfor %}
{% for x in xs %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %} {% for x in xs %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in xs %}{% continue %}{% else %}else{% endfor %} {% for x in xs %}{% break %}{% else %}else2{% endfor %} {% for x in xs %}{{ x }}{% if x == 1 %}{% break %}{% endif %}{% else %}else3{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }} {% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for k, v in d|dictsort %}{{ k }}{{ v }}{% endfor %}
{% for a, b in xs %}{{ a }}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}
{% for x in 5 %}{{ x }}{% endfor %}
{% for x in none %}{{ x }}{% endfor %}
{% for c in 'añ🙂' %}[{{ c }}]{% endfor %} {% for x in range(3) %}{{ x }}{% endfor %} {% for x in (1, 2) %}{{ x }}{% endfor %} {% for x in 1, 2, 3 %}{{ x }}{% endfor %} {% for x in [3, 1]|sort %}{{ x }}{% endfor %}
{% for x in tree recursive %}{{ x.v }}{{ loop.depth }}{% if x.c %}({{ loop(x.c) }}){% endif %}{{ ',' if not loop.last }}{% endfor %}
{% for x in tree if x.v != 4 recursive %}[{{ loop.index }}/{{ loop.depth0 }}:{{ x.v }}{{ loop(x.c) if x.c }}]{% else %}-{% endfor %}
{% for x in xs %}{{ loop(xs) }}{% endfor %}
{% for x in xs %}{% for y in xs %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}
{% for x in xs %}{% set outer = loop %}{% for y in [1] %}{{ outer.index }}{{ loop.index }}{% endfor %}{% endfor %}
{% for loop in xs %}{% endfor %}
{% for x in xs %}{% set loop = 1 %}{% endfor %}
{% break %}
{% for x in xs %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for x in xs %}{% set y %}a{% if x == 1 %}{% break %}{% endif %}b{% endset %}{{ y }}{% endfor %} {% for x in xs %}{% filter upper %}a{% if x == 1 %}{% continue %}{% endif %}b{% endfilter %}{% endfor %}
{% set x = 1 %}{% for i in xs %}{{ x }}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}
{% set x = 1 %}{% if yes %}{% set x = 2 %}{% endif %}{{ x }}{% if no %}{% set z = 1 %}{% endif %}{{ z is defined }}
{% for i in xs %}{% if loop.first %}{% set q = 5 %}{% endif %}{{ q is defined }}{% endfor %}{{ q is defined }}
{% set n = n + 1 %}{{ n }}{% for i in [1] %}{{ n }}{% set n = 0 %}{{ n }}{% endfor %}{{ n }}
{% for i in xs %}{{ bos_token }}{% endfor %}{% set bos_token = 'X' %}{{ bos_token }}
{% for i in [1, 2] %}{{ s2 }}{% set s2 = i %}{{ s2 }}{% endfor %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d2) = [3, 4] %}{{ c }}{{ d2 }}{% set t = 1, %}{{ t }}{% set [a] = [1] %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d2) = [3, 4] %}{{ c }}{{ d2 }}{% set t = 1, %}{{ t }}
{% set a, b = 1 %}
{% set 5 = 1 %}
{% set true = 1 %}
{% set a.b.c = 1 %}
{% set ns = namespace(a=0, l=[]) %}{% for i in xs %}{% set ns.a = ns.a + i %}{% set ns.l = ns.l + [i] %}{% set ns.b = i %}{% endfor %}{{ ns.a }} {{ ns.l }} {{ ns.b }} {{ ns }}
{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}{% set ns.c %}block {{ n }}{% endset %}{{ ns.c }}{% set ns.items = 5 %}{{ ns.items }}
{% set ns = namespace() %}{% set ns._x = 1 %}
{% set d.a = 1 %}
{% set nope.a = 1 %}
{% set x %}a{{ n }}b{% endset %}{{ x }}|{{ x is string }}|{% set y | upper %}abc{% endset %}{{ y }}{% set z | replace('a', 'b') | length %}aaa{% endset %}{{ z + 1 }}
{% set x | replace(undefname, 'b') %}aaa{% endset %}{{ x }}
{% set x | length %}aaa{% endset %}{{ x }}{% filter upper %}abc {{ s }}{% endfilter %}{% filter replace('a', 'b') | trim %} aXa {% endfilter %}
{% filter length %}abc{% endfilter %}
{% filter upper %}{% set hidden = 1 %}{{ hidden }}{% endfilter %}{{ hidden is defined }}{% set blk %}{% set inner = 1 %}{% endset %}{{ inner is defined }}
{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% with x, y = 1, 2 %}{{ x }}{% endwith %}
{% with (x, y) = (1, 2) %}{{ x }}{{ y }}{% endwith %}
{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c='y') }} {{ m(a=5) }} {{ m() }}| {{ m.name }} {{ m.arguments }} {{ m is callable }} {{ m }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro m(a) %}{{ a.b }}{% endmacro %}{{ m() }}
{% macro m(a, a) %}{% endmacro %}
{% macro m(a=1, b) %}{% endmacro %}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }} {{ m() }} {{ m.catch_kwargs }} {{ m.catch_varargs }} {{ m.caller }}
{% macro m(a, b=a ~ '!') %}{{ a }}{{ b }}{% endmacro %}{{ m('x') }} {% macro k(a=b, b=1) %}{{ a }}|{{ b }}{% endmacro %}{{ k() }} {{ k(b=2) }}
{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in {{ n }}{% endcall %} {% macro l(xs) %}{% for x in xs %}{{ caller(x, y=1) }}{% endfor %}{% endmacro %}{% call(x, y=0) l(xs) %}<{{ x }}{{ y }}>{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}
{% macro o() %}{% call i() %}{{ caller is defined }}{% endcall %}{% endmacro %}{% macro i() %}{{ caller() }}{% endmacro %}{{ o() }}
{% macro m(caller) %}{{ caller }}{% endmacro %}{{ m(1) }}
{% macro m(caller=none) %}{{ caller }}{% endmacro %}{{ m(1) }} {{ m() }}
{% macro fib(n) %}{% if n < 2 %}{{ n }}{% else %}{{ fib(n - 1)|int + fib(n - 2)|int }}{% endif %}{% endmacro %}{{ fib(10) }}
{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}
{% macro f() %}{{ later }}{% endmacro %}{% set later = 1 %}{{ f() }}{% set later = 2 %}{{ f() }}
{% macro f() %}{{ n }}{% set n = 5 %}{{ n }}{% endmacro %}{{ f() }}{{ n }}
{% macro f() %}{{ n }}{% endmacro %}{{ f() }}{% set n = 1 %}{{ f() }}
{% for i in xs %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %} {% set ns = namespace() %}{% for i in xs %}{% macro g() %}{{ i }}{% endmacro %}{% set ns.g = g %}{% endfor %}{{ g is defined }}
{% macro a(x) %}{% macro b(y) %}{{ x }}{{ y }}{% endmacro %}{{ b(x + 1) }}{% endmacro %}{{ a(1) }} {{ b is defined }}
{% macro m(x) %}{{ x }}{% endmacro %}{{ m('a')|upper }} {{ m('<')|e }} {{ m(m('n')) }} {{ m('b') ~ 'c' }} {{ m('1')|int + 1 }} {% set f = m %}{{ f('z') }} {{ [m('q')] }}
{% macro _p() %}x{% endmacro %}{{ _p() }}{% set _v = 1 %}{{ _v }}
{% generation %}x{{ n }}{% endgeneration %}{% for m in xs %}{% generation %}{% set q = m %}{{ q }}{{ loop.index }}{% endgeneration %}{% endfor %}{{ q is defined }}
{% for x in xs %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
{% raw %}{{ n }} {% if %} {# c #}{% endraw %}|{%- raw -%}  x  {%- endraw -%} |{% raw %}{% endraw %}
{# comment #}a{#- b -#} c {# {{ n }} {% if %} #}d
{# unclosed
{% raw %}unclosed
{% if 1 %}unclosed
{% for x in xs %}{% endif %}
{% endif %}
{% else %}
{% nosuchtag %}
{% do xs.append(1) %}
{% include 'x' %}
{% if no %}{% include 'x' %}{% import 'y' as z %}{% from 'y' import a as b, c with context %}{% endif %}ok
{% import 'x' as y %}
{% extends 'x' %}
{% print n, s %} {% print 1 %}
{% autoescape false %}{{ html }}{% set ae = 1 %}{% endautoescape %}{{ ae is defined }}
{% if 1: %}a{% endif %}{% for x in xs: %}{{ x }}{% endfor %}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.reset() }}{{ c.current }}
{% set j = joiner(', ') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %} {% set k = joiner() %}{{ k() }}{{ k() }}
{{ cycler() }}
{{ '}}' }} {{ '%}' }} {{ {'a': {'b': 1}}}} {{ '{{' }} {{ "#}" }}
{{ n}}{{n }}{{n}}{{-n}}{{- n -}} x
  {%- if 1 -%}  a  {%- endif -%}  b
  {% if 1 %}a{% endif %}  b  {% if 1 %}  c{% endif %}
{%+ if 1 +%} a {%+ endif %}
a   {{- n -}}   b {{ n }} c
{{ 9223372036854775807 }} {{ -9223372036854775807 }} {{ 9007199254740993 == 9007199254740992.0 }}
{{ xs == [3, 1, 2] }} {{ xs is sameas xs }} {{ [1, [2]] == [1, [2]] }} {{ d == {'C': 3, 'a': 1, 'b': 2} }} {{ nothing is none }} {{ nothing == none }}
{{ messages[0].role }} {{ messages[-1]['content'][0].text }} {{ messages|length }} {{ messages[1:]|map(attribute='role')|join('/') }} {{ messages[0]['content'] + '!' }} {{ messages[2].content.split('</think>')[-1].lstrip('\n') }} {{ messages[2].content.split('</think>')[0].split('<think>')[-1].strip() }}
{{ tools[0].function.parameters.properties.items() | list | length }} {{ tools[0].function.parameters.properties.days.items is callable }}|{{ tools[0]['function']['parameters']['properties']['days']['items'] }} {{ tools[0].function | tojson }}
'''

# Templates of several lines, by name only for the reader.
BLOCKS = {
    "string-over-lines": "{{ 'a\\\nb' }} {{ 'a\nb' }} {{ 1 +\n 2 }}",
    "whitespace": """
{% if yes %}
  a
{% endif %}
  {% for x in xs %}
    {{ x }}
  {% endfor %}
{#- c -#}

  end {% if no %}x{% endif %}
\ttabbed {# c #}
  {# own line #}
{%- set x = 1 %}

{{ x }}

""",
    "whitespace-signs": """a
  {%+ if yes %}
b
  {%- else %}
c
  {% endif +%}
d
  {{- n }}
  {{ n -}}
  e
""",
    "raw-lines": "x\n  {% raw %}\n  {{ y }}\n  {% endraw %}\nz\n",
    "crlf": "a\r\n{% if yes %}\r\nb\r{% endif %}\r\nc\r\n",
    "no-newline": "{{ n }}\n\n",
    "comment-lines": "{# a\nb #}\nc\n  {#- d #}\n  e {#+ f #}\ng",
    "nested-scopes": """
{%- set x = 'root' -%}
{%- macro show(x='param') -%}
  {%- with y = x -%}{%- set x = 'with' -%}{{ x }}/{{ y }}{%- endwith -%}|{{ x }}
{%- endmacro -%}
{%- for x in ['loop'] -%}{{ show() }} {{ show(x) }} {% set x = 'set' %}{{ x }}{%- endfor -%}
{{ ' ' ~ x }}
{%- if yes -%}{%- set x = 'if' -%}{%- for i in [1] -%}{{ x }}{%- set x = 'inner' -%}{%- endfor -%}{%- endif -%}
{{ x }}
""",
    "branches": """
{%- for i in range(4) -%}
{%- if i == 1 -%}{%- set v = 'one' -%}{%- elif i == 2 -%}{%- set v = 'two' -%}{%- else -%}{%- set w = i -%}{%- endif -%}
{{ i }}{{ v }}{{ w }}{{ n }}
{%- if i > 2 -%}{%- set n = 'changed' -%}{%- endif -%}{{ n }};
{%- endfor -%}{{ v is defined }}{{ n }}
""",
    "lazy": """
{%- set ns = namespace(stop=false) -%}
{%- for x in [1, 2, 3, 4] if not ns.stop -%}{{ x }}{% if x == 2 %}{% set ns.stop = true %}{% endif %}{%- endfor -%}
{%- set it = [1, 0]|map('string')|select -%}{{ it|first }}{{ it|first }}{{ it|first is defined }}
{%- for x in [3, 4]|map('string') -%}{{ loop.length }}{{ loop.last }}{{ x }}{%- endfor -%}
{%- for x in [3, 4]|map('string') -%}{{ loop.nextitem }}{{ loop.length }}{{ loop.revindex }}{%- endfor -%}
""",
    "closures": """
{%- set fs = namespace(list=[]) -%}
{%- macro adder(k) -%}{%- macro add(x) -%}{{ x + k }}{%- endmacro -%}{%- set fs.list = fs.list + [add] -%}{%- endmacro -%}
{{- adder(1) }}{{ adder(10) }}{% for f in fs.list %}{{ f(5) }} {% endfor -%}
""",
    "caller-args": """
{%- macro table(rows) -%}
{%- for r in rows -%}{{ caller(r, loop.index, last=loop.last) }}{%- endfor -%}
{%- endmacro -%}
{%- call(row, i, last=false) table([['a', 1], ['b', 2]]) -%}
{{ i }}. {{ row|join(':') }}{{ '.' if last else ';' }}
{% endcall -%}
""",
}

# Whole templates in the manner of published ones: their constructs, not their words.
STYLES = {
    "llama3-tools": """{{- bos }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user is defined %}
    {%- set tools_in_user = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "1 Jan 2020" %}
    {%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|head|>system<|end|>\\n\\n" }}
{%- if tools is not none and tools %}
    {{- "Environment: x\\n" }}
    {%- if builtin is defined %}
        {{- "Tools: " + builtin | reject('equalto', 'code') | join(", ") + "\\n\\n"}}
    {%- endif %}
{%- endif %}
{{- "Today: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot|>" }}
{%- if tools_in_user and tools %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content'] if messages[0]['content'] is string else messages[0]['content']|tojson %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("no first user message") }}
    {%- endif %}
    {{- '<|head|>user<|end|>\\n\\n' -}}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|end|>\\n\\n'+ (message['content'] if message.content is string else message.content|selectattr('type', 'equalto', 'text')|map(attribute='text')|join) | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("only single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- if builtin is defined and tool_call.name in builtin %}
            {{- "<|py|>" + tool_call.name + ".call(" }}
            {%- for arg_name, arg_val in tool_call.arguments | items %}
                {{- arg_name + '="' + arg_val + '"' }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- endif %}
                {%- endfor %}
            {{- ")" }}
        {%- else  %}
            {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
            {{- tool_call.arguments | tojson }}
            {{- "}" }}
        {%- endif %}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|end|>\\n\\n' }}
{%- endif %}
""",
    "mistral": """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {{- ", " if not loop.last else "]" }}
            {%- endfor %}
            {{- "[/TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("ids must be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {{- ", " if not loop.last else "]" + eos_token }}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool_results" or message["role"] == "tool" %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[RESULTS] {"content": ' + content|string + ", " }}
        {{- '"id": "' + message.tool_call_id + '"}[/RESULTS]' }}
    {%- else %}
        {{- raise_exception("only user and assistant roles are supported") }}
    {%- endif %}
{%- endfor %}
""",
    "command-r": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = 'Preamble.' %}{% endif %}{{ '<|T|><|SYS|>' }}{{ '# Rules' }}{{ '
You ' }}{{ system_message }}
## Tools
{% macro json_to_python_type(json_spec) %}{%- set basic_type_map = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"} %}{%- if basic_type_map[json_spec.type] is defined %}{{- basic_type_map[json_spec.type] }}{%- elif json_spec.type == "array" %}{{- "List[" + json_to_python_type(json_spec['items']) + "]"}}{%- elif json_spec.type == "object" %}{{- "Dict[str, " + json_to_python_type(json_spec.additionalProperties or {"type": "string"}) + ']'}}{%- elif json_spec.type is iterable %}{{- "Union[" }}{%- for t in json_spec.type %}{{- json_to_python_type({"type": t}) }}{%- if not loop.last %}{{- "," }}{%- endif %}{%- endfor %}{{- "]" }}{%- else %}{{- "Any" }}{%- endif %}{%- endmacro %}
{%- for tool in tools or [] %}{%- if loop.first %}{{ '
```python
' }}{%- endif %}{%- set fn = tool.function %}def {{ fn.name }}({% for param_name, param_fields in fn.parameters.properties|items %}{{ param_name }}: {% if not param_name in fn.parameters.required %}Optional[{{ json_to_python_type(param_fields) }}] = None{% else %}{{ json_to_python_type(param_fields) }}{% endif %}{% if not loop.last %}, {% endif %}{% endfor %}) -> List[Dict]:
    \"\"\"{{ fn.description }}{% if fn.parameters.properties|length != 0 %}


    Args:
        {% for param_name, param_fields in fn.parameters.properties|dictsort %}{{ param_name }} ({{ json_to_python_type(param_fields) }}){{ ': ' ~ param_fields.description if param_fields.description }}
        {% endfor %}{% endif %}\"\"\"
    pass{% if not loop.last %}{{ '

' }}{% else %}
```{% endif %}{% endfor %}
{%- for message in loop_messages %}{% set content = message['content'] %}{% if message['role'] == 'user' %}{{ '<|T|><|U|>' ~ (content if content is string else content|map(attribute='type')|join('+')) ~ '<|E|>' }}{% elif message['role'] == 'assistant' and message.tool_calls %}{{ '<|T|><|C|>Action: ```json
' ~ message.tool_calls|map(attribute='function')|list|tojson(indent=4) ~ '
```<|E|>' }}{% elif message.role|lower == 'tool' %}{{ '<results>
' }}{% for k, v in (message.content|default({}, true) if message.content is mapping else {'output': content}).items() %}{{ k|title }}: {{ v|string|indent(4) }}
{% endfor %}{{ '</results>' }}{% elif message['role'] == 'assistant' %}{{ '<|T|><|C|>' + content.strip() + '<|E|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|T|><|C|>' }}{% endif %}""",
    "hermes": """{%- macro emit(role, body) -%}<|im_start|>{{ role }}
{{ body }}<|im_end|>
{% endmacro -%}
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools>\\n<tool_call>\\n{\\"name\\": <function-name>}\\n</tool_call><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' -%}
    {{- emit('system', messages[0].content) }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- emit(message.role, message.content) }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for tool_call in message.tool_calls or [] %}
            {%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' ~ tool_call.name ~ '", "arguments": ' ~ (tool_call.arguments if tool_call.arguments is string else tool_call.arguments | tojson) ~ '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' ~ message.content ~ '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
""",
    "harmony": """{%- macro render_type(param_spec, required_params, is_nullable=false) -%}
    {%- if param_spec.type == "array" -%}
        {%- if param_spec['items'] -%}
            {%- if param_spec['items']['type'] == "string" -%}
                {{- "string[]" }}
            {%- elif param_spec['items']['type'] in ["number", "integer"] -%}
                {{- "number[]" }}
            {%- else -%}
                {%- set inner_type = render_type(param_spec['items'], required_params) -%}
                {%- if inner_type == "object | object" or inner_type|length > 50 -%}
                    {{- "any[]" }}
                {%- else -%}
                    {{- inner_type + "[]" }}
                {%- endif -%}
            {%- endif -%}
        {%- else -%}
            {{- "any[]" }}
        {%- endif -%}
    {%- elif param_spec.type is defined and param_spec.type is iterable and param_spec.type is not string and param_spec.type is not mapping and param_spec.type[0] is defined -%}
        {{- param_spec.type | join(" | ") }}
    {%- elif param_spec.oneOf -%}
        {%- for variant in param_spec.oneOf -%}
            {{- render_type(variant, required_params) -}}
            {%- if variant.description %}{{- "// " + variant.description }}{%- endif -%}
            {{- " | " if not loop.last }}
        {%- endfor -%}
    {%- elif param_spec.type == "string" -%}
        {%- if param_spec.enum -%}
            {{- '"' + param_spec.enum|join('" | "') + '"' -}}
        {%- else -%}
            {{- "string" }}{%- if param_spec.nullable %}{{- " | null" }}{%- endif -%}
        {%- endif -%}
    {%- elif param_spec.type in ["number", "integer"] -%}
        {{- "number" }}
    {%- elif param_spec.type == "object" -%}
        {%- if param_spec.properties -%}
            {{- "{\\n" }}
            {%- for prop_name, prop_spec in param_spec.properties.items() -%}
                {{- prop_name -}}
                {%- if prop_name not in (param_spec.required or []) -%}{{- "?" }}{%- endif -%}
                {{- ": " }}
                {{ render_type(prop_spec, param_spec.required or []) }}
                {%- if not loop.last -%}{{-", " }}{%- endif -%}
            {%- endfor -%}
            {{- "}" }}
        {%- else -%}
            {{- "object" }}
        {%- endif -%}
    {%- else -%}
        {{- "any" }}
    {%- endif -%}
{%- endmacro -%}
{%- macro render_namespace(name, tools) -%}
    {{- "## " + name + "\\n\\nnamespace " + name + " {\\n\\n" }}
    {%- for tool in tools %}
        {%- set tool = tool.function %}
        {{- "// " + tool.description + "\\ntype "+ tool.name + " = " }}
        {%- if tool.parameters and tool.parameters.properties %}
            {{- "(_: {\\n" }}
            {%- for param_name, param_spec in tool.parameters.properties.items() %}
                {%- if param_spec.description %}{{- "// " + param_spec.description + "\\n" }}{%- endif %}
                {{- param_name }}
                {%- if param_name not in (tool.parameters.required or []) -%}{{- "?" }}{%- endif -%}
                {{- ": " }}
                {{- render_type(param_spec, tool.parameters.required or []) }}
                {%- if param_spec.default is defined -%}
                    {%- if param_spec.enum %}{{- ", // default: " + param_spec.default }}
                    {%- elif param_spec.oneOf %}{{- "// default: " + param_spec.default }}
                    {%- else %}{{- ", // default: " + param_spec.default|tojson }}{%- endif -%}
                {%- endif -%}
                {{- ",\\n" if not loop.last else "\\n" }}
            {%- endfor %}
            {{- "}) => any;\\n\\n" }}
        {%- else -%}
            {{- "() => any;\\n\\n" }}
        {%- endif -%}
    {%- endfor %}
    {{- "} // namespace " + name }}
{%- endmacro -%}
{%- if effort is not defined %}{%- set effort = "medium" %}{%- endif %}
{{- "<|start|>system<|message|>Date: " + strftime_now("%Y-%m-%d") + "\\nReasoning: " + effort + "<|end|>" }}
{%- if messages[0].role in ["developer", "system"] %}
    {%- set developer_message = messages[0].content %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set developer_message = "" %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if developer_message or tools %}
    {{- "<|start|>developer<|message|>" }}
    {%- if developer_message %}{{- "# Instructions\\n\\n" + developer_message + "\\n\\n" }}{%- endif %}
    {%- if tools -%}{{- "# Tools\\n\\n" }}{{- render_namespace("functions", tools) }}{%- endif -%}
    {{- "<|end|>" }}
{%- endif %}
{%- set last_tool_call = namespace(name=none) %}
{%- for message in loop_messages -%}
    {%- if message.role == 'assistant' -%}
        {%- if "content" in message and message.content %}
            {%- if "<|channel|>analysis<|message|>" in message.content %}{{- raise_exception("tags in content") }}{%- endif %}
        {%- endif %}
        {%- if "tool_calls" in message and message.tool_calls %}
            {%- set future_final_message = namespace(found=false) %}
            {%- for future_message in loop_messages[loop.index:] %}
                {%- if future_message.role == 'assistant' and "tool_calls" not in future_message %}
                    {%- set future_final_message.found = true %}
                {%- endif %}
            {%- endfor %}
            {%- set tool_call = message.tool_calls[0] %}
            {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
            {%- if message.content and message.thinking %}
                {{- raise_exception("both") }}
            {%- elif message.thinking and not future_final_message.found %}
                {{- "<|start|>assistant<|channel|>analysis<|message|>" + message.thinking + "<|end|>" }}
            {%- endif %}
            {{- "<|start|>assistant to=functions." + tool_call.name + "<|channel|>commentary " + (tool_call.content_type if tool_call.content_type is defined else "json") + "<|message|>" + tool_call.arguments|tojson + "<|call|>" }}
            {%- set last_tool_call.name = tool_call.name %}
        {%- elif loop.last and not add_generation_prompt %}
            {%- if "thinking" in message %}{{- "<|start|>assistant<|channel|>analysis<|message|>" + message.thinking + "<|end|>" }}{%- endif %}
            {{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|return|>" }}
        {%- else %}
            {{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|end|>" }}
            {%- set last_tool_call.name = none %}
        {%- endif %}
    {%- elif message.role == 'tool' -%}
        {%- if last_tool_call.name is none %}{{- raise_exception("no previous assistant message with a tool call!") }}{%- endif %}
        {{- "<|start|>functions." + last_tool_call.name + " to=assistant<|message|>" + message.content|tojson + "<|end|>" }}
    {%- elif message.role == 'user' -%}
        {{- "<|start|>user<|message|>" + message.content + "<|end|>" }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|start|>assistant
{%- endif -%}
""",
    "deepseek-v3": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% if not thinking is defined %}{% set thinking = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system_prompt='', is_first_sp=true, is_last_user=false, is_only_sys=false) %}{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}{%- else %}{% set ns.system_prompt = ns.system_prompt + '\\n\\n' + message['content'] %}{%- endif %}{% set ns.is_only_sys = true %}{%- endif %}{%- endfor %}{% if tools is defined and tools is not none %}{% set tool_ns = namespace(text='## Tools\\n') %}{% for tool in tools %}{% set tool_ns.text = tool_ns.text + '\\n### ' + tool.function.name + '\\nDescription: ' + tool.function.description + '\\nParameters: ' + (tool.function.parameters | tojson) + '\\n' %}{% endfor %}{% set ns.system_prompt = ns.system_prompt + '\\n\\n' + tool_ns.text %}{% endif %}{{ bos_token }}{{ ns.system_prompt }}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{%- set ns.is_last_user = true -%}{{'<｜User｜>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['tool_calls'] is defined and message['tool_calls'] is not none %}{%- if ns.is_last_user or ns.is_only_sys %}{{'<｜Assistant｜></think>'}}{%- endif %}{%- set ns.is_last_user = false -%}{%- set ns.is_first = false %}{%- for tool in message['tool_calls'] %}{%- if not ns.is_first %}{%- if message['content'] is none or not message['content'] %}{{'<｜calls｜><｜call｜>'+ tool['function']['name'] + '<｜sep｜>' + (tool['function']['arguments'] if tool['function']['arguments'] is string else tool['function']['arguments']|tojson) + '<｜/call｜>'}}{%- else %}{{message['content'] + '<｜calls｜><｜call｜>' + tool['function']['name']}}{%- endif %}{%- set ns.is_first = true -%}{%- else %}{{'<｜call｜>'+ tool['function']['name'] + '<｜/call｜>'}}{%- endif %}{%- endfor %}{{'<｜/calls｜>' + eos_token}}{%- endif %}{%- if message['role'] == 'assistant' and (message['tool_calls'] is not defined or message['tool_calls'] is none) %}{%- if ns.is_last_user %}{{'<｜Assistant｜>'}}{%- if message['prefix'] is defined and message['prefix'] and thinking %}{{'<think>'}}{%- else %}{{'</think>'}}{%- endif %}{%- endif %}{%- set ns.is_last_user = false -%}{%- if ns.is_tool %}{{message['content'] + eos_token}}{%- set ns.is_tool = false -%}{%- else %}{%- set content = message['content'] -%}{%- if '</think>' in content %}{%- set content = content.split('</think>', 1)[1] -%}{%- endif %}{{content + eos_token}}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_last_user = false -%}{%- set ns.is_tool = true -%}{{'<｜out｜>' + message['content'] + '<｜/out｜>'}}{%- endif %}{%- endfor -%}{%- if add_generation_prompt and ns.is_last_user and not ns.is_tool %}{{'<｜Assistant｜>'}}{%- if not thinking %}{{'</think>'}}{%- else %}{{'<think>'}}{%- endif %}{% endif %}""",
    "phi": """{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% elif message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] in ('user', 'assistant') %}{% generation %}{{'<|' ~ message.role ~ '|>\\n' ~ message['content'] ~ '<|end|>\\n'}}{% endgeneration %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}""",
    "gemma": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<turn>model
'}}
{%- endif -%}
""",
    "glm": """[gMASK]<sop>
{%- if tools -%}
<|system|>
# Tools
<tools>
{% for tool in tools %}
{{ tool | tojson(ensure_ascii=False) }}
{% endfor %}
</tools>{%- endif -%}
{%- macro visible_text(content) -%}
    {%- if content is string -%}
        {{- content }}
    {%- elif content is iterable and content is not mapping -%}
        {%- for item in content -%}
            {%- if item is mapping and item.type == 'text' -%}
                {{- item.text }}
            {%- elif item is string -%}
                {{- item }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{- content }}
    {%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(last_user_index=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {% set ns.last_user_index = loop.index0 -%}
    {%- endif %}
{%- endfor %}
{% for m in messages %}
{%- if m.role == 'user' -%}<|user|>
{{ visible_text(m.content) }}
{{- '/nothink' if (enable_thinking is defined and not enable_thinking and not visible_text(m.content).endswith("/nothink")) else '' -}}
{%- elif m.role == 'assistant' -%}
<|assistant|>
{%- set reasoning_content = '' %}
{%- set content = visible_text(m.content) %}
{%- if m.reasoning_content is string %}
    {%- set reasoning_content = m.reasoning_content %}
{%- else %}
    {%- if '</think>' in content %}
        {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
{%- endif %}
{%- if loop.index0 > ns.last_user_index and reasoning_content -%}
{{ '\\n<think>' + reasoning_content.strip() +  '</think>'}}
{%- else -%}
{{ '\\n<think></think>' }}
{%- endif -%}
{%- if content.strip() -%}
{{ '\\n' + content.strip() }}
{%- endif -%}
{% if m.tool_calls %}
{% for tc in m.tool_calls %}
{%- if tc.function %}
    {%- set tc = tc.function %}
{%- endif %}
{{ '\\n<tool_call>' + tc.name }}
{% set _args = tc.arguments %}
{% if _args is mapping %}{% for k, v in _args.items() %}
<arg_key>{{ k }}</arg_key>
<arg_value>{{ v | tojson(ensure_ascii=False) if v is not string else v }}</arg_value>
{% endfor %}{% endif %}
</tool_call>{% endfor %}
{% endif %}
{%- elif m.role == 'tool' -%}
{%- if m.content is string -%}
{%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
    {{- '<|observation|>' }}
{%- endif %}
{{- '\\n<tool_response>\\n' }}
{{- m.content }}
{{- '\\n</tool_response>' }}
{%- else -%}
<|observation|>{% for tr in m.content %}

<tool_response>
{{ tr.output if tr.output is defined else tr }}
</tool_response>{% endfor -%}
{% endif -%}
{%- elif m.role == 'system' -%}
<|system|>
{{ visible_text(m.content) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    <|assistant|>{{- '\\n<think></think>' if (enable_thinking is defined and not enable_thinking) else '' -}}
{%- endif -%}
""",
    "kimi-k2": """{%- macro render_content(msg) -%}
    {%- set c = msg.get('content') -%}
    {%- if c is string -%}
      {{ c }}
    {%- elif c is not none -%}
      {% for content in c -%}
        {% if content['type'] == 'image' or 'image' in content or 'image_url' in content -%}
          <|media|>image<|/media|>
        {% else -%}
          {{ content['text'] }}
        {%- endif -%}
      {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- macro render_toolcalls(message) -%}
  <|calls|>
  {%- for tool_call in message['tool_calls'] -%}
    {%- set formatted_id = tool_call['id'] -%}
    <|call|>{{ formatted_id }}<|arg|>{% if tool_call['function']['arguments'] is string %}{{ tool_call['function']['arguments'] }}{% else %}{{ tool_call['function']['arguments'] | tojson }}{% endif %}<|/call|>
  {%- endfor -%}
  <|/calls|>
{%- endmacro -%}
{# the last assistant message without calls splits history from what goes on #}
{%- set ns = namespace(last_non_tool_call_assistant_msg=-1) -%}
{%- for idx in range(messages|length-1, -1, -1) -%}
    {%- if messages[idx]['role'] == 'assistant' and not messages[idx].get('tool_calls') -%}
        {%- set ns.last_non_tool_call_assistant_msg = idx -%}
        {%- break -%}
    {%- endif -%}
{%- endfor -%}
{%- set hist_msgs = messages[:ns.last_non_tool_call_assistant_msg+1] -%}
{%- set suffix_msgs = messages[ns.last_non_tool_call_assistant_msg+1:] -%}
{%- if tools -%}
  <|sys|>tool_declare<|mid|>{{ tools | tojson(separators=(',', ':')) }}<|end|>
{%- endif -%}
{%- for message in hist_msgs + suffix_msgs -%}
  {%- if loop.first and messages[0]['role'] != 'system' -%}
  <|sys|>system<|mid|>You are.<|end|>
  {%- endif -%}
  {%- set role_name = message.get('name') or message['role'] -%}
  {%- if message['role'] == 'user' -%}
    <|user|>{{ role_name }}<|mid|>
  {%- elif message['role'] == 'assistant' -%}
    <|asst|>{{ role_name }}<|mid|>
  {%- else -%}
    <|sys|>{{ role_name }}<|mid|>
  {%- endif -%}
  {%- if message['role'] == 'assistant' and message.get('tool_calls') -%}
    {%- if loop.index0 > ns.last_non_tool_call_assistant_msg -%}<think>{{ message.get('reasoning_content', '') }}</think>{%- endif -%}
    {{ render_content(message) }}{{ render_toolcalls(message) }}
  {%- elif message['role'] == 'tool' -%}
    ## Return of {{ message.tool_call_id }}
{{ render_content(message) }}
  {%- elif message['content'] is not none -%}
    {{ render_content(message) }}
  {%- endif -%}
  <|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}
  <|asst|>assistant<|mid|>
{%- endif -%}
""",
}

CALL = {"type": "function", "id": "call_0001", "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": [1, 2]}}}
CONVERSATIONS = [
    {"messages": [{"role": "user", "content": " Hi "}], "add_generation_prompt": True},
    {"messages": VARIABLES["messages"][:2] + [{"role": "assistant", "content": "<think>\nwhy\n</think>\n\nbecause"},
                                              {"role": "user", "content": "More\n"}], "add_generation_prompt": True},
    {"messages": [{"role": "user", "content": "weather?"},
                  {"role": "assistant", "content": "", "tool_calls": [CALL], "reasoning_content": "think", "thinking": "think"},
                  {"role": "tool", "content": "{\"t\": 3}", "tool_call_id": "call_0001"},
                  {"role": "tool", "content": "4", "tool_call_id": "call_0001"},
                  {"role": "assistant", "content": "3 degrees", "thinking": "ok"}],
     "tools": [TOOL], "add_generation_prompt": False},
    {"messages": VARIABLES["messages"], "tools": [TOOL, TOOL], "add_generation_prompt": True, "enable_thinking": False},
    {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "ä"}, {"type": "image"}]}],
     "tools": None, "thinking": True},
    {"messages": [{"role": "user", "content": "call"}, {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]}],
     "tools": [TOOL]},
]


def rendered(template, variables):
    try:
        text = chat._cached_compile_jinja_template(template).render(**json.loads(json.dumps(variables)))
        text.encode()  # half of a surrogate pair is no text
        return {"text": text}
    except Exception as error:  # whatever it is: an error is expected
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:80]}


def main(folder):
    os.makedirs(folder, exist_ok=True)
    templates = LINES.strip("\n").split("\n")
    with open(os.path.join(folder, "cases.jsonl"), "w", encoding="utf-8") as out:
        def put(case):
            result = case.get("text", "")
            if " at 0x" in result:
                sys.exit(f"an address: {case}")
            out.write(json.dumps(case, ensure_ascii=False) + "\n")

        put({"variables": VARIABLES})
        for template in templates + list(BLOCKS.values()):
            put({"template": template, **rendered(template, VARIABLES)})
        for template in STYLES.values():
            put({"template": template})
            for conversation in CONVERSATIONS:
                variables = {"bos_token": "<s>", "eos_token": "</s>", **conversation}
                put({"variables": variables, **rendered(template, variables)})


if __name__ == "__main__":
    main(sys.argv[1])
