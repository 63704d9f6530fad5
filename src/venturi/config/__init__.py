"""The configuration: one YAML file, its schema, and every mistake in it with file:line:column.

yaml_lines   text -> plain data and the place of everything in it; refuses what YAML does by surprise
values       text -> durations, sizes, percents, AE titles, networks, paths
schema       the shape, as frozen pydantic models
targets      which transfer syntaxes are made, and what a rule may say beside each
rule_text    a rule as it is written: syntax, encoder parameters, lossy -> ``model.Target``
rule_checks  what one rule says about another, and of codecs
checks       what one part says about another: unknown names, shadowed rules, warnings
load         all of it: ``load(path) -> Config``, or ConfigError with every mistake
"""
