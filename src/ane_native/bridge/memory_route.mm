#include "errors.h"
#include "folder.h"
#include "route.h"

@protocol AneDescriptorClass
- (id)modelWithMILText:(NSData*)text weights:(NSDictionary*)weights optionsPlist:(id)options;
@end
@protocol AneInMemoryModelClass
- (id)inMemoryModelWithDescriptor:(id)descriptor;
@end
@protocol AneInMemoryModel <AneModelProperties>
- (NSString*)hexStringIdentifier;
- (BOOL)compileWithQoS:(unsigned int)qos options:(NSDictionary*)options error:(NSError**)error;
- (BOOL)loadWithQoS:(unsigned int)qos options:(NSDictionary*)options error:(NSError**)error;
- (BOOL)evaluateWithQoS:(unsigned int)qos
                options:(NSDictionary*)options
                request:(id)request
                  error:(NSError**)error;
- (BOOL)unloadWithQoS:(unsigned int)qos error:(NSError**)error;
- (id)model;
- (void)setDescriptor:(id)descriptor;
@end

namespace ane {

namespace {

class InMemoryModel final : public RoutedModel {
   public:
    InMemoryModel(id<AneInMemoryModel> model, unsigned qos)
        : RoutedModel(qos), model_(model), folder_(folder_named([model hexStringIdentifier])) {}

    NSString* folder() const override { return folder_; }

    BOOL compile(NSError** error) override {
        return [model_ compileWithQoS:qos_ options:@{} error:error];
    }

    // The descriptor holds the weights once more (Epistates/pmetal).
    BOOL load(NSDictionary* options, NSError** error) override {
        const BOOL loaded = [model_ loadWithQoS:qos_ options:options error:error];
        if (loaded && has(@selector(setDescriptor:))) [model_ setDescriptor:nil];
        return loaded;
    }

    BOOL evaluate(id request, NSDictionary* options, NSError** error) override {
        return [model_ evaluateWithQoS:qos_ options:options request:request error:error];
    }

    BOOL unload(NSError** error) override { return [model_ unloadWithQoS:qos_ error:error]; }

    // The model inside: on macOS 27 the wrapper's own method raises (Epistates/pmetal).
    id described() const override {
        id inside = has(@selector(model)) ? [model_ model] : nil;
        return [inside respondsToSelector:@selector(modelAttributes)] ? inside : (id)model_;
    }

    id<AneModelProperties> properties() const override { return model_; }

   private:
    bool has(SEL selector) const { return [(id)model_ respondsToSelector:selector]; }

    id<AneInMemoryModel> model_;
    NSString* folder_;
};

class InMemoryModels final : public ModelMaker {
   public:
    InMemoryModels()
        : descriptors_((id<AneDescriptorClass>)require_class_method(
              "_ANEInMemoryModelDescriptor", @selector(modelWithMILText:weights:optionsPlist:))),
          models_((id<AneInMemoryModelClass>)require_class_method("_ANEInMemoryModel",
                                                                  @selector(inMemoryModelWithDescriptor:))) {
        for (const SEL selector : {
                 @selector(hexStringIdentifier), @selector(compileWithQoS:options:error:),
                     @selector(loadWithQoS:options:error:), @selector(evaluateWithQoS:options:request:error:),
                     @selector(unloadWithQoS:error:)
             })
            require_instance_method("_ANEInMemoryModel", selector);
    }

    bool hashes_weights() const override { return true; }

    std::unique_ptr<RoutedModel> make(NSData* text, NSDictionary* weights, unsigned qos) const override {
        id descriptor = [descriptors_ modelWithMILText:text weights:weights optionsPlist:nil];
        if (!descriptor) throw compile_failure("the framework made no descriptor of this program");
        id<AneInMemoryModel> model = [models_ inMemoryModelWithDescriptor:descriptor];
        if (!model) throw compile_failure("the framework made no model of this program");
        return std::make_unique<InMemoryModel>(model, qos);
    }

   private:
    id<AneDescriptorClass> descriptors_;
    id<AneInMemoryModelClass> models_;
};

}  // namespace

std::unique_ptr<ModelMaker> open_memory_route() { return std::make_unique<InMemoryModels>(); }

}  // namespace ane
