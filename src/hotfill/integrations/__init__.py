"""Ways in and out: readers of common files, a source of contents, retrievers for other libraries.

parquet, jsonl, beir, image_folder   readers: items in batches, whatever the size of the file
trec                                 judgements and topics
content_file                         a source: contents by id, in one file, made from any reader
fill                                 embed what a reader gives and write it into a gallery
retrievers                           an upgrade as a retriever of LangChain or LlamaIndex
sentence_transformers                a cross test as an evaluator, while a model is trained
"""
